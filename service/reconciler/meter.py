"""Counts how long runs are on the cluster, in their rows and their owners' hours: over restarts, by several reconcilers, whatever clocks do.

A row says up to when it is counted, by the database's time, which all reconcilers share. Who counted it last goes by its own steady
clock, so a step of the database's clock counts for nothing as long as the same one counts; after a restart a step back counts for
nothing, too.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.bodies.states import State
from service.db.tables import Job, Trial
from service.runs import hours
from service.runs.kinds import kind_of
from service.runs.limits import training_workers
from trainer.search import TrialState


class Meter:
    """Of one reconciler. `time`: the database's time; `clock`: a time that never jumps; `add`: to the owner's hours."""

    def __init__(
        self,
        clock: Callable[[], datetime],
        time: Callable[[Session], datetime],
        add: Callable[[Session, str, datetime, float, float, float], None] = hours.add,
    ) -> None:
        self._clock, self._time, self._add = clock, time, add
        self._counted: dict[int, tuple[datetime, datetime]] = {}
        """Number → up to when a row was counted here, by the database's time and by this clock."""

    def now(self, session: Session) -> datetime:
        """The database's time."""
        return self._time(session)

    def count(self, session: Session, job: Job, now: datetime | None = None) -> datetime:
        """Add to the row the time since it was counted; the caller holds its lock. The database's time.

        now: that time, if it was asked for just now, for another row.
        """
        now, steady = now or self._time(session), self._clock()
        if job.counted_at is not None:
            until, mine = _told_end(job, now), self._counted.get(job.number)
            before = (steady - mine[1]) if mine is not None and mine[0] == job.counted_at else now - job.counted_at
            seconds = max(0.0, (before - (now - until)).total_seconds())
            workers = self._workers(session, job)
            cpus, gpus = workers * job.worker_cpus, workers * job.worker_gpus
            job.run_seconds += seconds
            job.cpu_seconds += seconds * cpus
            job.accelerator_seconds += seconds * gpus
            self._add(session, job.owner, until, seconds, cpus, gpus)
        return now

    def mark(self, job: Job, now: datetime) -> None:
        """Count from now on, if the row as it is now is on the cluster."""
        if counts(job):
            job.counted_at = now
            self._counted[job.number] = (now, self._clock())
        else:
            job.counted_at = None
            self._counted.pop(job.number, None)

    def _workers(self, session: Session, job: Job) -> int:
        """How many hold their place: of a search those of all trials that run."""
        if not kind_of(job).has_trials:
            return training_workers(job)
        running = select(func.count()).where(Trial.job_number == job.number, Trial.state == TrialState.RUNNING)
        return (session.scalar(running) or 0) * job.workers


def counts(job: Job) -> bool:
    """Whether the run has its place on the cluster: Ray has its driver, which doesn't wait for what it needs."""
    state = State(job.state)
    return state.on_ray and job.submitted_at is not None and not (state is State.STARTING and job.waiting)


def _told_end(job: Job, now: datetime) -> datetime:
    """When the attempt ended, as far as it has said so: nobody may have looked since. Never later than now."""
    told = job.outcome if job.outcome and job.outcome["attempt"] == job.attempt else None
    if told is None or "time" not in told:
        return now
    return min(now, datetime.fromisoformat(told["time"]))
