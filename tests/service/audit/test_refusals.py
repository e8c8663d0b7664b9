"""Refusals are counted, each once, and no flood of them makes many rows."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from service.audit import refusals, store
from service.audit.refusals import Refusals
from service.audit.store import Record
from service.db.session import Database

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
GIVEN = st.tuples(
    st.sampled_from(["t-1", "t-2", ""]), st.sampled_from(["10.0.0.1", "10.0.0.2"]), st.sampled_from("abcdef"), st.sampled_from([401, 404]),
    st.sampled_from([0, 59, 61, 130]),
)  # fmt: skip
STEPS = st.lists(st.one_of(GIVEN, st.sampled_from(["write", "fail"])), max_size=40)


def refused(token: str, peer: str, target: str, status: int, seconds: int = 0) -> Record:
    time = NOON + timedelta(seconds=seconds)
    return Record(time, token, token, token, "user", "r", "job.pause", "job", target, status, peer)


@given(STEPS, st.integers(1, 6), st.integers(1, 4))
@examples(60)
def test_each_is_counted_once_however_they_come_and_the_rows_stay_few(
    steps: list[object], most: int, most_of_one: int
) -> None:
    rows: list[Counter[str]] = []
    working = True

    def count(_: object, records: list[tuple[Record, int | None]]) -> list[int]:
        if not working:
            raise OSError("away")
        found = []
        for record, row in records:
            if row is None:
                rows.append(Counter())
                row = len(rows) - 1
            rows[row][str(record.alike())] += record.count
            found.append(row)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refusals, "MOST", most)
        patch.setattr(refusals, "MOST_OF_ONE", most_of_one)
        patch.setattr(store, "count", count)
        kept, counted, minutes = Refusals(None), 0, set()  # type: ignore[arg-type]
        for step in steps:
            if isinstance(step, tuple):
                kept.count(refused(*step))
                minutes.add(step[-1] // 60)
                counted += 1
            else:
                working = step == "write"
                kept.write()
        working = True
        kept.write()
    assert sum(row.total() for row in rows) == counted
    assert all(len(row) == 1 for row in rows), "a row counts what is alike"
    turns = 1 + sum(isinstance(step, tuple) for step in steps)
    assert len(rows) <= turns * (most + 4)


def test_a_flood_from_everywhere_is_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []

    def count(_: object, records: list[tuple[Record, int | None]]) -> list[int]:
        written.append(sum(row is None for _, row in records))
        return [row if row is not None else 0 for _, row in records]

    monkeypatch.setattr(store, "count", count)
    kept = Refusals(None)  # type: ignore[arg-type]
    for number in range(20_000):
        kept.count(refused("", f"10.0.{number // 256}.{number % 256}", str(number), 401))
        if number % 500 == 0:
            kept.write()
    kept.write()
    assert sum(written) <= refusals.MOST + 2
    one = Refusals(None)  # type: ignore[arg-type]
    written.clear()
    for number in range(5000):
        one.count(refused("t-1", "10.0.0.1", str(number), 404))
    one.write()
    assert sum(written) == refusals.MOST_OF_ONE + 1


def test_a_minute_has_a_row_of_its_own_and_places_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, int | None]] = []

    def count(_: object, records: list[tuple[Record, int | None]]) -> list[int]:
        written.extend((record.target, row) for record, row in records)
        return [7 for _ in records]

    monkeypatch.setattr(store, "count", count)
    monkeypatch.setattr(refusals, "MOST_OF_ONE", 1)
    kept = Refusals(None)  # type: ignore[arg-type]
    for target, seconds in (("a", 0), ("a", 59), ("a", 60), ("b", 120)):
        kept.count(refused("t-1", "", target, 404, seconds))
        kept.write()
    assert written == [("a", None), ("a", 7), ("a", None), ("b", None)]


@pytest.mark.databases
def test_a_row_that_is_forgotten_meanwhile_is_written_anew(db: Database) -> None:
    (first,) = store.count(db, [(refused("t-1", "", "a", 404), None)])
    store.forget_one(db, first)
    (second,) = store.count(db, [(refused("t-1", "", "a", 404), first)])
    with db.read() as session:
        (row,) = store.page(session, store.Wanted(), limit=5, cursor=None)[0]
    assert (row.id, row.count) == (second, 1)
