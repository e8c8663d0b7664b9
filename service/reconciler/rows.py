"""All SQL of the queue. Reads take the few columns that decide, from an index; writes are short, of what differs alone, and guarded:
what changed since it was read is left as it is, and two that decide at once can't both start something."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

from sqlalchemy import ColumnElement, and_, bindparam, func, insert, select, text, update
from sqlalchemy.orm import Session

from service.db.session import Database
from service.db.tables import LEAVING, WAITING, Base, Job, JobChange, Lock
from service.jobs import store as jobs
from service.jobs.lifecycle import State, Trigger, advance
from service.reconciler.admission import Need, Verdict
from service.reconciler.decide import Move, decide_queued
from service.reconciler.store import due_by
from service.reconciler.views import view_of

T = TypeVar("T")
JOBS = Base.metadata.tables["jobs"]
ADMISSION = "admission"
ON_RAY = (State.STARTING, State.RUNNING, State.STOPPING)
CHUNK = 500
"""Rows in one transaction: nobody waits long for it."""
IN_LINE = text(WAITING)  # as the index has it: no planner proves it from a parameter


class Waiting(NamedTuple):
    """A job in the line."""

    number: int
    state: str
    attempt: int
    need: Need


Mark = tuple[int, int, int]
"""By what a line is known: how many are in it, the sum of their numbers and that of their attempts."""


class Pulse(NamedTuple):
    """By what a reconciler sees whether anything happened since it decided."""

    turns: int
    """How often anyone has started jobs. Read first: who starts some in the meantime makes what is decided void."""
    active: tuple[Need, ...]
    """Of the jobs on the cluster, in an order of their own."""
    mark: Mark | None
    """Of the line up to the last that was decided of; None if it wasn't asked for."""


def anyone_waits(db: Database) -> bool:
    """Whether the queue holds a job."""
    with db.read() as session:
        return session.scalar(select(Job.number).where(IN_LINE).limit(1)) is not None


def pulse(session: Session, now: datetime, last: int | None) -> Pulse:
    """last: number of the last job that was decided of; None: the line is not counted, which reads all of it."""
    turns = session.scalar(select(Lock.turns).where(Lock.name == ADMISSION)) or 0
    needs = session.execute(
        select(Job.workers, Job.worker_cpus, Job.worker_gpus).where(text("watched"), Job.state.in_(ON_RAY))
    )
    active = tuple(sorted(Need(*row) for row in needs))
    if last is None:
        return Pulse(turns, active, None)
    sums = select(func.count(), func.sum(JOBS.c.number), func.sum(JOBS.c.attempt))
    count, numbers, attempts = session.execute(sums.where(_in_line(now), JOBS.c.number <= last)).one()
    return Pulse(turns, active, (int(count), int(numbers or 0), int(attempts or 0)))


def mark(waiting: Sequence[Waiting]) -> Mark:
    """Of those in a line."""
    return len(waiting), sum(item.number for item in waiting), sum(item.attempt for item in waiting)


def line(session: Session, now: datetime, after: int) -> list[Waiting]:
    """Those that wait and whose pause, after a lost attempt, is over; the earliest first."""
    columns = (JOBS.c.number, JOBS.c.state, JOBS.c.attempt, JOBS.c.workers, JOBS.c.worker_cpus, JOBS.c.worker_gpus)
    asked = select(*columns).where(_in_line(now), JOBS.c.number > after)
    found = session.connection().execute(asked).all()
    return sorted(
        Waiting(number, state, attempt, Need(workers, cpus, gpus))
        for number, state, attempt, workers, cpus, gpus in found
    )


def start(
    db: Database, turns: int, chosen: Sequence[Waiting], owner: str, now: datetime, lease: timedelta
) -> list[Job] | None:
    """Begin the next attempt of these and own them. None if anyone has started jobs since `turns` was read: decide anew.

    One that was cancelled meanwhile is left out.
    """
    with db.begin() as session:
        turn = update(Lock).where(Lock.name == ADMISSION, Lock.turns == turns).values(turns=turns + 1)
        if session.execute(turn.returning(Lock.turns)).first() is None:
            return None
        found = []
        for item in chosen:
            same = and_(Job.number == item.number, IN_LINE, Job.desired == "run", Job.attempt == item.attempt)
            job = session.scalar(select(Job).where(same).with_for_update())
            if job is not None:
                job.attempt += 1
                job.progress = None  # of an earlier attempt
                jobs.move(session, job, Trigger.ADMIT, "")
                job.lease_owner, job.lease_until, job.fence = owner, now + lease, job.fence + 1
                found.append(job)
        return found


def explain(db: Database, told: Sequence[tuple[Waiting, Verdict]]) -> list[int]:
    """Write why they wait; the numbers of those that nobody had looked at before.

    A job that was started, cancelled or put back meanwhile is in another state, or another attempt of it is: it is left alone.
    """
    fresh: list[int] = []
    for chunk in _chunks(told):
        words = {item.number: (item, verdict) for item, verdict in chunk}
        with db.begin() as session:
            begun = _queue(session, [item.number for item, _ in chunk if item.state == State.SUBMITTED])
            session.connection().execute(_EXPLAIN, [_words(item, verdict) for item, verdict in chunk])
            facts = {"time": datetime.now(UTC), "state": State.QUEUED}
            changes = [
                {"job_number": number, "attempt": words[number][0].attempt, "reason": words[number][1].reason, **facts}
                for number in begun
            ]
            if changes:
                session.execute(insert(JobChange), changes)
        fresh += begun
    return fresh


def leave(db: Database) -> list[int]:
    """Have those go that shall not run any more; their numbers."""
    with db.read() as session:
        numbers = session.scalars(select(Job.number).where(text(LEAVING)).limit(CHUNK)).all()
    gone = []
    for chunk in _chunks(numbers, 50):
        with db.begin() as session:
            asked = select(Job).where(Job.number.in_(chunk), text(LEAVING)).with_for_update()
            for job in session.scalars(asked):
                action = decide_queued(view_of(job))
                if isinstance(action, Move):
                    jobs.move(session, job, action.trigger, action.reason)
                    gone.append(job.number)
    return gone


def _in_line(now: datetime) -> ColumnElement[bool]:
    return and_(IN_LINE, Job.desired == "run", due_by(now))


_EXPLAIN = (
    update(JOBS)
    .where(JOBS.c.number == bindparam("of"), JOBS.c.attempt == bindparam("of_attempt"), JOBS.c.state == State.QUEUED)
    .where(JOBS.c.desired == "run", JOBS.c.reason != bindparam("why"))
    .values(reason=bindparam("why"), lacks=bindparam("of_which"))
)


def _words(item: Waiting, verdict: Verdict) -> dict[str, object]:
    return {"of": item.number, "of_attempt": item.attempt, "why": verdict.reason, "of_which": verdict.lacks}


def _queue(session: Session, numbers: Sequence[int]) -> Sequence[int]:
    """Have those wait that are still as they were submitted; their numbers, in order."""
    if not numbers:
        return []
    fresh = and_(JOBS.c.number.in_(numbers), JOBS.c.state == State.SUBMITTED, JOBS.c.desired == "run")
    moved = update(JOBS).where(fresh).values(state=advance(State.SUBMITTED, Trigger.WAIT))
    return sorted(session.scalars(moved.returning(JOBS.c.number)))


def _chunks(items: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]
