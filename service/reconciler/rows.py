"""All SQL of the queue. Reads take the few columns that decide, from an index; writes are short, of what differs alone, and guarded:
what changed since it was read is left as it is, and two that decide at once can't both start something."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Text, and_, bindparam, cast, func, insert, literal, select, text, update
from sqlalchemy.orm import Session

from service.bodies.owners import Caps
from service.bodies.states import State
from service.db.session import Database
from service.db.tables import LEAVING, WAITING, Base, Job, JobChange
from service.reconciler import displacing, turns
from service.reconciler.decide import Move, decide_queued
from service.reconciler.store import due_by
from service.reconciler.views import view_of
from service.runs import caps, hours, lines, order, served
from service.runs import store as jobs
from service.runs.hours import Spent
from service.runs.lifecycle import Trigger, advance
from service.runs.queue import Verdict
from service.runs.room import Need

T = TypeVar("T")
JOBS = Base.metadata.tables["jobs"]
COLUMNS = (
    "place",
    "number",
    "state",
    "attempt",
    "workers",
    "worker_cpus",
    "worker_gpus",
    "priority",
    "revision",
    "owner",
    "delay",
)
CHUNK = 500
"""Rows in one transaction: nobody waits long for it."""
IN_LINE = text(WAITING)  # as the index has it: no planner proves it from a parameter


class Waiting(NamedTuple):
    """A job in the line. They sort as they stand in it: first those that others make room for."""

    behind: bool
    """Behind these."""
    place: int
    number: int
    state: str
    attempt: int
    need: Need
    priority: int
    revision: int
    owner: str
    delay: int

    @property
    def arrived(self) -> int:
        """When it was submitted."""
        return order.arrived(self.place, self.priority, self.delay)


Mark = tuple[int, int, int, int]
"""By what a line is known: how many are in it, the sums of their numbers, of their attempts and of what was changed of them."""


class Pulse(NamedTuple):
    """By what a reconciler sees whether anything happened since it decided."""

    turns: int
    """How often anyone has decided. Read first: who does in the meantime makes what is decided void."""
    running: tuple[displacing.OnCluster, ...]
    """The jobs on the cluster."""
    promised: Mapping[int, tuple[str, ...]]
    """For whom others make room, or made it and wait: by number, those that are still on the cluster."""
    caps: Mapping[str, Caps]
    """What owners may have."""
    spent: Mapping[str, Spent]
    """Who has used their GPU-hours of the week."""
    served: tuple[Need, ...]
    """What is kept for what answers questions to models, in an order of its own."""
    mark: Mark | None
    """Of the line up to the last that was decided of; None if it wasn't asked for."""

    @property
    def active(self) -> tuple[Need, ...]:
        """What the jobs on the cluster take, in an order of its own. Those whose nodes haven't come take nothing."""
        return tuple(sorted(item.run.need for item in self.running if not item.run.late))

    @property
    def owned(self) -> tuple[tuple[str, Need], ...]:
        """Whose they are, and what they take, in an order of its own."""
        return tuple(sorted((item.owner, item.run.need) for item in self.running))


def anyone_waits(db: Database) -> bool:
    """Whether the queue holds a job."""
    with db.read() as session:
        return session.scalar(select(Job.number).where(IN_LINE).limit(1)) is not None


def pulse(session: Session, now: datetime, last: int | None, late: datetime | None = None) -> Pulse:
    """last: number of the last job that was decided of; None: the line is not counted, which reads all of it. late: runs that wait for
    nodes since before that keep nothing."""
    taken = turns.count(session)
    running = displacing.on_cluster(session, late)
    promised = lines.promised(session)
    known = caps.read(session)
    spent = hours.spent(session, known, now)
    kept = served.needs(session)
    if last is None:
        return Pulse(taken, running, promised, known, spent, kept, None)
    sums = select(func.count(), *(func.sum(JOBS.c[name]) for name in ("number", "attempt", "revision")))
    found = session.execute(sums.where(_in_line(now), JOBS.c.number <= last)).one()
    count, numbers, attempts, revisions = (int(value or 0) for value in found)
    return Pulse(taken, running, promised, known, spent, kept, (count, numbers, attempts, revisions))


def mark(waiting: Iterable[Waiting]) -> Mark:
    """Of those in a line."""
    count = numbers = attempts = revisions = 0
    for item in waiting:
        count, numbers = count + 1, numbers + item.number
        attempts, revisions = attempts + item.attempt, revisions + item.revision
    return count, numbers, attempts, revisions


def added(before: Mark, came: Mark, left: Mark) -> Mark:
    """Of a line to which some came, and that some left."""
    return tuple(a + b - c for a, b, c in zip(before, came, left, strict=True))  # type: ignore[return-value]


def line(session: Session, now: datetime, after: int, promised: Collection[int]) -> list[Waiting]:
    """Those that wait and whose pause, after a lost attempt, is over, in order. after: leave out those up to that number."""
    asked = select(*(JOBS.c[name] for name in COLUMNS)).where(_in_line(now), JOBS.c.number > after)
    found = session.connection().execute(asked).all()
    return sorted(
        Waiting(number not in promised, place, number, state, attempt, Need(workers, cpus, gpus), *others)
        for place, number, state, attempt, workers, cpus, gpus, *others in found
    )


def start(
    db: Database, taken: int, chosen: Sequence[Waiting], owner: str, now: datetime, lease: timedelta
) -> list[Job] | None:
    """Begin the next attempt of these and own them. None if anyone has decided since so many turns were taken: decide anew.

    One that was cancelled or edited meanwhile is left out: it may take more than was decided of.
    """
    with db.begin() as session:
        if not turns.take(session, taken):
            return None
        found = []
        for item in chosen:
            same = and_(Job.number == item.number, IN_LINE, Job.desired == "run", Job.attempt == item.attempt)
            same = and_(same, Job.revision == item.revision)
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
                action = decide_queued(view_of(job, datetime.now(UTC)))
                if isinstance(action, Move):
                    jobs.move(session, job, action.trigger, action.reason)
                    gone.append(job.number)
    return gone


def _in_line(now: datetime) -> ColumnElement[bool]:
    return and_(IN_LINE, Job.desired == "run", due_by(now))


_MADE_ROOM = (
    literal("paused for ") + JOBS.c.yields_to + ", which has priority " + cast(JOBS.c.yields_priority, Text) + "; "
)
_WHY = func.coalesce(_MADE_ROOM, "") + bindparam("why", type_=Text)
_EXPLAIN = (
    update(JOBS)
    .where(JOBS.c.number == bindparam("of"), JOBS.c.attempt == bindparam("of_attempt"), JOBS.c.state == State.QUEUED)
    .where(JOBS.c.desired == "run", JOBS.c.reason != _WHY)
    .values(reason=_WHY, lacks=bindparam("of_which"))
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
