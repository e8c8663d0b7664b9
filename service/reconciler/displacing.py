"""All SQL of making room: what runs, for whom some of it makes room, and how that begins (`service.runs.preemption`)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from sqlalchemy import and_, select, text
from sqlalchemy.orm import Session

from service.bodies.states import State
from service.db.session import Database
from service.db.tables import AT_ONCE, Job, JobChange
from service.gateway.ray_jobs import Node
from service.reconciler import turns
from service.runs import preemption, store
from service.runs.order import SECOND
from service.runs.preemption import Running
from service.runs.room import Need

ON_RAY = (State.STARTING, State.RUNNING, State.STOPPING)
RAY_LAGS = timedelta(seconds=15)
"""So long after a run has left the cluster Ray may report what it took as used."""
CHANGES = 200
"""So many changes are looked at to see who has left of late."""
AGAIN_SECONDS = 5.0
"""After that long the same is decided of again: by then who was let alone for a while may be asked."""
logger = logging.getLogger("agon.reconciler")


class OnCluster(NamedTuple):
    """A run on the cluster."""

    run: Running
    id: str
    attempt: int
    owner: str


class Waiter(preemption.Waiter, Protocol):
    """One that waits, as it was when it was read."""

    @property
    def revision(self) -> int:
        """Of its row."""


class Displaced(NamedTuple):
    """What was begun."""

    taken: int
    """Turns, as far as is known."""
    numbers: tuple[int, ...]
    """Of the runs that make room now."""


def on_cluster(session: Session, before: datetime | None = None) -> tuple[OnCluster, ...]:
    """All of them, in an order of their own. before: those that Ray took before that, and that still wait, are late."""
    columns = (
        *(Job.number, Job.place, Job.priority, Job.workers, Job.worker_cpus, Job.worker_gpus, Job.preemptible),
        *(Job.submitted_at, Job.yields, Job.state, Job.desired, Job.yields_to, Job.id, Job.attempt),
        *(Job.outcome, Job.owner, store.late(before).label("late")),
    )
    asked = select(*columns).where(text("watched"), Job.state.in_(ON_RAY))
    return tuple(sorted(_on_cluster(row) for row in session.execute(asked)))  # the numbers differ


def late(session: Session, before: datetime) -> list[Need]:
    """What those need that Ray took before that, and that still wait for what they need."""
    asked = select(Job.workers, Job.worker_cpus, Job.worker_gpus).where(text("watched"), store.late(before))
    return [Need(*row) for row in session.execute(asked.order_by(Job.number))]


def departed(session: Session, now: datetime) -> list[Need]:
    """What those took that have left the cluster so lately that Ray may not know.

    now: this process's, which nobody sets. A change that lies further ahead was written by a clock that was set since it began.
    """
    left = (State.QUEUED, State.PAUSED, State.SUCCEEDED, State.FAILED, State.CANCELLED)
    newest = select(JobChange.job_number, JobChange.state, JobChange.time, JobChange.attempt)
    rows = session.execute(newest.order_by(JobChange.id.desc()).limit(CHANGES)).all()
    lately = [row for row in rows if abs(row.time - now) < RAY_LAGS]
    late = {row.job_number for row in lately if row.attempt and State(row.state) in left}
    if not late:
        return []
    needs = select(Job.workers, Job.worker_cpus, Job.worker_gpus)
    gone = and_(Job.number.in_(late), Job.state.in_(left))
    return [Need(*row) for row in session.execute(needs.where(gone))]


def displace(db: Database, taken: int, waiter: Waiter, runs: Sequence[OnCluster]) -> list[int] | None:
    """Have these make room for that one; their numbers, none if one of them, or the one that waits, isn't as it was.

    None if anyone has decided since so many turns were taken.
    """
    with db.begin() as session:
        if not turns.take(session, taken):
            return None
        numbers = sorted([waiter.number, *(item.run.number for item in runs)])
        rows = session.scalars(select(Job).where(Job.number.in_(numbers)).order_by(Job.number).with_for_update())
        found = {job.number: job for job in rows}
        mine = found.get(waiter.number)
        if mine is None or not _still_waits(mine, waiter) or not all(_as_it_was(found, item) for item in runs):
            return []
        for item in runs:
            job = found[item.run.number]
            job.yields_to, job.yields_priority = mine.id, mine.priority
            job.revision, job.due_at = job.revision + 1, AT_ONCE
        return [item.run.number for item in runs]


class Displacer:
    """Decides, now and then, who makes room for whom. One per reconciler."""

    def __init__(self, db: Database, clock: Callable[[], datetime]) -> None:
        self.db, self.clock = db, clock
        self._seen: object = None
        """What was decided of last: it isn't again before `AGAIN_SECONDS`."""
        self._until = 0.0

    def look(
        self,
        taken: int,
        nodes: Sequence[Node],
        running: Sequence[OnCluster],
        line: Sequence[Waiter],
        served: Sequence[Need] = (),
        drivers: int | None = None,
    ) -> Displaced:
        """Begin to make room where that lets one start that waits and can't start now.

        taken: so many turns had been taken when it was decided who starts. line: those that wait, in order. served: what is kept for
        what answers questions to models. drivers: for how many runs Ray's head has memory; None: for any number.
        """
        able = any(item.run.preemptible and not item.run.leaving for item in running)
        seen = (
            ([(node.id, node.state, node.cpus_free, node.gpus_free) for node in nodes], running, line, served, drivers)
            if able
            else None
        )
        if seen is None or (seen == self._seen and time.monotonic() < self._until):
            return Displaced(taken, ())
        self._seen, self._until, now = seen, time.monotonic() + AGAIN_SECONDS, self.clock()
        with self.db.read() as session:
            coming = departed(session, now)
        plan = preemption.plan(
            nodes, [item.run for item in running], coming, line, int(now.timestamp() * SECOND), served, drivers
        )
        by_number, waiting = {item.run.number: item for item in running}, {item.number: item for item in line}
        numbers: list[int] = []
        for waiter, runs in plan:
            begun = displace(self.db, taken, waiting[waiter], [by_number[run.number] for run in runs])
            if begun is None:
                break
            taken, numbers = taken + 1, [*numbers, *begun]
            logger.info("makes room", extra={"facts": {"for": waiter, "jobs": begun}})
        return Displaced(taken, tuple(numbers))


def _still_waits(job: Job, waiter: Waiter) -> bool:
    state = State(job.state)
    return state in (State.SUBMITTED, State.QUEUED) and job.desired == "run" and job.revision == waiter.revision


def _as_it_was(found: Mapping[int, Job], item: OnCluster) -> bool:
    job = found.get(item.run.number)
    if job is None or (job.attempt, job.priority) != (item.attempt, item.run.priority):
        return False
    free = job.preemptible and job.desired == "run" and job.yields_to is None
    return free and State(job.state) in (State.STARTING, State.RUNNING)


def _on_cluster(row: Any) -> OnCluster:
    told = row.outcome is not None and row.outcome["attempt"] == row.attempt
    began = None if row.submitted_at is None else int(row.submitted_at.timestamp() * SECOND)
    run = Running(
        row.number,
        row.place,
        row.priority,
        Need(row.workers, row.worker_cpus, row.worker_gpus),
        preemptible=row.preemptible,
        began=began,
        paused_before=row.yields > 0,
        late=bool(row.late),
        leaving=told or row.state == State.STOPPING or row.desired != "run" or row.yields_to is not None,
    )
    return OnCluster(run, row.id, row.attempt, row.owner)
