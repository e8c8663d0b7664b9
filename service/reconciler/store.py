"""All SQL of the reconciler. No network call happens inside any of these transactions.

A lease makes one reconciler the owner of a job for a while; each lease has a number (`fence`), and a write names the number
of its own lease. So one that was slow, or paused, and has lost its lease can't overwrite what its successor wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from service.db.session import Database
from service.db.tables import Job, Lock
from service.jobs.lifecycle import State

WAITING = (State.SUBMITTED, State.QUEUED)
ON_RAY = (State.STARTING, State.RUNNING, State.STOPPING)
ADMISSION = "admission"


class LostLeaseError(Exception):
    """Another reconciler owns the job now, or it changed meanwhile: decide anew."""


def due(db: Database, now: datetime, limit: int) -> Sequence[int]:
    """Jobs on the cluster that nobody owns and that it is time to look at."""
    free = or_(Job.lease_until.is_(None), Job.lease_until < now)
    with db.read() as session:
        statement = select(Job.number).where(Job.state.in_(ON_RAY), Job.due_at <= now, free)
        return session.scalars(statement.order_by(Job.due_at).limit(limit)).all()


def claim(db: Database, number: int, owner: str, now: datetime, lease: timedelta) -> Job | None:
    """The job with its new fence; None if another was faster."""
    free = or_(Job.lease_until.is_(None), Job.lease_until < now)
    with db.begin() as session:
        statement = (
            update(Job)
            .where(Job.number == number, Job.state.in_(ON_RAY), free)
            .values(lease_owner=owner, lease_until=now + lease, fence=Job.fence + 1)
        )
        if session.execute(statement.returning(Job.number)).first() is None:
            return None
        return session.get_one(Job, number)


@contextmanager
def owned(db: Database, lease: Job, *, as_decided: bool) -> Iterator[tuple[Session, Job]]:
    """A transaction on the job's newest row, locked. Raises LostLeaseError if the lease is not ours any more or, with
    `as_decided`, if what the decision was based on has changed."""
    with db.begin() as session:
        job = session.scalar(select(Job).where(Job.number == lease.number).with_for_update())
        if job is None or job.fence != lease.fence or (as_decided and job.revision != lease.revision):
            raise LostLeaseError(lease.id)
        yield session, job


def release(job: Job, due_at: datetime) -> None:
    """Give the lease back."""
    job.lease_owner, job.lease_until, job.due_at = None, None, due_at


def give_up(db: Database, lease: Job, due_at: datetime) -> None:
    """Release the lease if it is still ours."""
    with db.begin() as session:
        statement = update(Job).where(Job.number == lease.number, Job.fence == lease.fence)
        session.execute(statement.values(lease_owner=None, lease_until=None, due_at=due_at))


@contextmanager
def queue(db: Database) -> Iterator[tuple[Session, list[Job], list[Job]]]:
    """A transaction that has its turn at the queue: jobs that wait, in order of arrival, and jobs on the cluster."""
    with db.begin() as session:
        session.execute(update(Lock).where(Lock.name == ADMISSION).values(turns=Lock.turns + 1))
        statement = select(Job).order_by(Job.number)
        waiting = session.scalars(statement.where(Job.state.in_(WAITING)).with_for_update()).all()
        active = session.scalars(statement.where(Job.state.in_(ON_RAY))).all()
        yield session, list(waiting), list(active)


def anyone_waits(db: Database) -> bool:
    """Whether the queue holds a job."""
    with db.read() as session:
        return session.scalar(select(Job.number).where(Job.state.in_(WAITING)).limit(1)) is not None


def stale(db: Database, attempts: dict[str, int], before: datetime) -> Sequence[str]:
    """Of these jobs (id → an attempt that is on Ray) those that ended before then, or have a newer attempt."""
    with db.read() as session:
        rows = session.scalars(select(Job).where(Job.id.in_(attempts))).all()
    return [
        job.id
        for job in rows
        if (job.finished_at is not None and job.finished_at < before) or job.attempt > attempts[job.id]
    ]
