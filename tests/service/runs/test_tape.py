"""The tape: one order of what all runs tell, in which nobody misses anything, however the writers' transactions end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
import rows
from hypothesis import given
from hypothesis import strategies as st
from properties import examples
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.bodies.states import State
from service.db.session import Database
from service.db.tables import Job, JobChange, TapeEntry
from service.runs import store, tape
from service.runs.tape import BEGIN, EVERYTHING, WHOLE, Mark, Told, Wanted, place, read

pytestmark = pytest.mark.databases


def hear(db: Database, mark: Mark, limit: int = 3, wanted: Wanted = EVERYTHING) -> tuple[list[Told], Mark]:
    """All that has a place behind the mark."""
    heard: list[Told] = []
    while True:
        with db.read() as session:
            stretch = read(session, mark, limit, wanted)
        heard += stretch.told
        mark = stretch.mark
        if not stretch.more:
            return heard, mark


def now(db: Database) -> Mark:
    while place(db):
        pass
    with db.read() as session:
        return tape.end(session)


def number_of(db: Database, run: str) -> int:
    with db.read() as session:
        return session.scalars(select(Job.number).where(Job.id == run)).one()


def say(session: Session, number: int, reason: str) -> None:
    """As `store.note`, without the lock of the run's row: each writer has runs of its own."""
    change = JobChange(job_number=number, time=datetime.now(UTC), state="running", attempt=1, reason=reason)
    session.add(TapeEntry(job_number=number, change=change))
    session.flush()


@pytest.fixture(scope="module")
def shared(empty_postgres: Any) -> Iterator[tuple[Database, list[int]]]:
    """A real PostgreSQL, and a run for each of three writers."""
    db = Database(empty_postgres())
    yield db, [number_of(db, rows.run(db)) for _ in range(3)]
    db.close()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["say", "commit", "roll back"]), st.integers(0, 2)),
        st.tuples(st.just("place"), st.just(0)),
        st.tuples(st.just("read"), st.integers(0, 1)),
    ),
    max_size=30,
)


@given(STEPS)
@examples(30)
def test_whatever_is_committed_in_whatever_order_every_reader_hears_once_and_in_the_same_order(
    shared: tuple[Database, list[int]], steps: list[tuple[str, int]]
) -> None:
    """Three writers with transactions of their own on a real PostgreSQL, two readers that read at any moment."""
    db, numbers = shared
    marks = [now(db)] * 2
    heard: list[list[str]] = [[], []]
    open_: dict[int, tuple[Session, list[str]]] = {}
    committed: list[str] = []
    with ExitStack() as ending:

        def listen(reader: int) -> None:
            told, marks[reader] = hear(db, marks[reader], limit=1 + reader)
            heard[reader] += [one.data["reason"] for one in told]

        for count, (step, who) in enumerate(steps):
            if step == "say":
                if who not in open_:
                    open_[who] = (ending.enter_context(Session(db.engine)), [])
                session, said = open_[who]
                say(session, numbers[who], f"{who} {count}")
                said.append(f"{who} {count}")
            elif step == "place":
                place(db)
            elif step == "read":
                listen(who)
            elif who in open_:
                session, said = open_.pop(who)
                if step == "commit":
                    session.commit()
                    committed += said
                else:
                    session.rollback()
        for session, _ in open_.values():
            session.rollback()
        now(db)
        for reader in (0, 1):
            listen(reader)
    assert heard[0] == heard[1]
    assert sorted(heard[0]) == sorted(committed)
    for who in range(3):
        mine = [said for said in heard[0] if said.startswith(f"{who} ")]
        assert mine == sorted(mine, key=lambda said: int(said.split()[1])), "of one run as it was written"


def test_what_is_committed_late_is_told_though_its_number_is_lower(shared: tuple[Database, list[int]]) -> None:
    db, (one, other, _) = shared
    mark = now(db)
    with Session(db.engine) as slow, Session(db.engine) as quick:
        say(slow, one, "slow")
        say(quick, other, "quick")
        quick.commit()
        place(db)
        told, mark = hear(db, mark)
        assert [item.data["reason"] for item in told] == ["quick"]
        slow.commit()
        place(db)
    assert [item.data["reason"] for item in hear(db, mark)[0]] == ["slow"]


def test_processes_that_give_places_at_once_give_each_entry_one(shared: tuple[Database, list[int]]) -> None:
    db, numbers = shared
    mark = now(db)
    with db.begin() as session:
        for index in range(90):
            say(session, numbers[index % 3], str(index))
    threads = [threading.Thread(target=place, args=(db,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [item.data["reason"] for item in hear(db, mark, limit=7)[0]] == [str(index) for index in range(90)]


def event(seq: int) -> dict[str, Any]:
    when = datetime.now(UTC).isoformat()
    return {
        "seq": seq,
        "attempt": 1,
        "time": when,
        "kind": "progress",
        "step": seq,
        "images": 64 * seq,
        "data": {"n": seq},
    }


def test_the_tape_has_what_the_runs_own_streams_tell_as_they_tell_it(world: Any) -> None:
    mark = now(world.db)
    job = world.running(labels={"team": "vision"})
    world.send(job, event(3), event(4))
    now(world.db)
    told, later = hear(world.db, mark)
    assert [(one.run, one.kind, one.name, one.owner, one.labels) for one in told] == [
        (job, "job", "small", "admin", {"team": "vision"})
    ] * len(told)
    states = [one.data["state"] for one in told if one.is_state]
    assert states == ["submitted", "queued", "starting", "running"] or states == ["submitted", "starting", "running"]
    assert [one.data["seq"] for one in told if not one.is_state] == [1], "none behind a gap"
    world.send(job, event(2))
    now(world.db)
    told, _ = hear(world.db, later, limit=2)
    assert [(one.data["seq"], one.data["data"]) for one in told] == [(2, {"n": 2}), (3, {"n": 3}), (4, {"n": 4})]
    world.tell(job, "failed", kind="bad-data", reason="shard-3.tar is truncated")
    world.seqs[job] = 4
    world.tell(job, "failed", kind="bad-data", reason="shard-3.tar is truncated")
    world.round()
    now(world.db)
    last = hear(world.db, later)[0][-1]
    assert (last.data["state"], last.data["failure"]["kind"]) == (State.FAILED, "bad-data")


def test_every_mark_goes_on_just_behind_what_it_was_told_with(world: Any) -> None:
    mark = now(world.db)
    job = world.running()
    world.send(job, *map(event, range(2, 8)))
    now(world.db)
    every, _ = hear(world.db, mark)
    assert len(every) > 8
    for index, one in enumerate(every):
        assert Mark.parse(str(one.mark)) == one.mark
        assert [item.mark for item in hear(world.db, one.mark, limit=2)[0]] == [
            item.mark for item in every[index + 1 :]
        ]


def test_a_run_that_is_deleted_takes_its_part_with_it_and_others_places_stay(world: Any) -> None:
    mark = now(world.db)
    gone, kept = world.submit(), world.submit()
    world.client.post(f"/v1/jobs/{gone}/cancel")
    world.round()
    now(world.db)
    before = [one for one in hear(world.db, mark)[0] if one.run == kept]
    end = now(world.db)
    assert world.client.delete(f"/v1/jobs/{gone}").status_code == 204
    assert hear(world.db, mark)[0] == before
    assert now(world.db) == end
    with world.db.begin() as session:
        store.note(session, store.get(session, kept, lock=True), "more")
    place(world.db)
    assert [one.data["reason"] for one in hear(world.db, end)[0]] == ["more"]


WANTED = st.builds(
    Wanted,
    kind=st.sampled_from([None, "job", "search"]),
    runs=st.sampled_from([frozenset[str](), frozenset({"j-a"}), frozenset({"j-a", "s-a"})]),
    owner=st.sampled_from([None, "ada", "bob"]),
    labels=st.sampled_from([(), (("team", "vision"),), (("team", "vision"), ("n", "1"))]),
    states=st.booleans(),
)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def several(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Runs of several kinds, people and labels, each with a state and two events."""
    if request.param == "sqlite":
        copy = tmp_path_factory.mktemp("tape") / "agon.db"
        copy.write_bytes(request.getfixturevalue("sqlite_template").read_bytes())
        db = Database(f"sqlite:///{copy}")
    else:
        db = Database(request.getfixturevalue("empty_postgres")())
    from service.runs import ingest, marks
    from trainer.wire import WireEvent

    labels = ({}, {"team": "vision"}, {"team": "vision", "n": "1"})
    for index, (run, owner) in enumerate((("j-a", "ada"), ("j-b", "bob"), ("s-a", "ada"), ("j-c", "ada"))):
        kind = "search" if run.startswith("s") else "job"
        spec = {**rows.spec(kind), "labels": labels[index % 3]}
        rows.run(db, kind, id=run, owner=owner, spec=spec)
        with db.begin() as session:
            job = store.get(session, run, None, lock=True)
            marks.write_labels(session, job)
            store.note(session, job, "said")
            ingest.take(session, job, [WireEvent.model_validate(event(seq)) for seq in (1, 2)])
    now(db)
    yield db
    db.close()


@given(wanted=WANTED, limit=st.integers(1, 5))
@examples(15)
def test_a_filter_chooses_the_same_in_the_database_and_out_of_it(several: Database, wanted: Wanted, limit: int) -> None:
    every, end = hear(several, BEGIN)
    assert len(every) == 12
    found, mark = hear(several, BEGIN, limit, wanted)
    assert found == [one for one in every if wanted.takes(one)]
    assert mark == end or mark == found[-1].mark


def test_a_stretch_of_which_nothing_is_wanted_is_walked_in_bounded_steps(
    several: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tape, "SPAN", 2)
    nobody = Wanted(owner="nobody")
    first = hear(several, BEGIN)[0][0].mark
    mark = Mark(first.place - 1)
    with several.read() as session:
        stretch = read(session, mark, 10, nobody)
        assert (stretch.told, stretch.mark, stretch.more) == ([], Mark(mark.place + 2), True)
    assert hear(several, mark, wanted=nobody) == ([], now(several))


@given(st.one_of(st.text(max_size=24), st.from_regex(r"[0-9]{1,20}(-[0-9]{1,20})?", fullmatch=True)))
@examples(30)
def test_a_mark_is_read_only_as_it_was_written(text: str) -> None:
    try:
        mark = Mark.parse(text)
    except ValueError:
        return
    assert str(mark) == text
    assert min(mark) >= 0
    assert max(mark) <= WHOLE
