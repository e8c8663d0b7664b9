"""What becomes a record, and when those who follow are told of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from service.audit import store
from service.audit.store import Record
from service.audit.witness import Watch
from service.db.session import Database
from service.http import GONE
from service.routes import all_routes


def record(target: str, status: int | None) -> Record:
    return Record(datetime.now(UTC), "ada", "t-1", "ada", "user", "r", "model.alias", "model", target, status, "")


def told(db: Database, after: int) -> list[str]:
    store.place(db)
    with db.read() as session:
        return [row.target for row in store.behind(session, after, store.Wanted(), 10)[0]]


@pytest.mark.databases
def test_what_is_begun_is_told_once_it_is_answered_and_behind_a_place_nothing_is_told_twice(db: Database) -> None:
    with db.read() as session:
        place = store.end(session)
    with db.begin() as session:
        begun = store.write(session, record("begun", None))
        store.write(session, record("done", 200))
    assert told(db, place) == ["done"]
    store.answered(db, begun, 200)
    assert told(db, place) == ["done", "begun"]
    assert (told(db, place + 1), told(db, place + 2)) == (["begun"], [])


def test_whose_client_went_before_anything_was_done_is_neither_done_nor_refused() -> None:
    watch, found = Watch(None), list[Record]()  # type: ignore[arg-type]
    watch.learn(all_routes())
    watch.refusals.count = found.append  # type: ignore[method-assign]
    for status in (GONE, 403):
        with watch({"type": "http", "method": "POST", "path": "/v1/jobs"}, "r") as witness:
            asyncio.run(witness.ended(status, repeated=False))
    assert [record.status for record in found] == [403]
