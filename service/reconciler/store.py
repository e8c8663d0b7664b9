"""All SQL of the reconciler but the queue's (`service.reconciler.rows`). No network call happens inside any of these transactions.

A lease makes one reconciler the owner of a job for a while; each lease has a number (`fence`), and a write names the number
of its own lease. So one that was slow, or paused, and has lost its lease can't overwrite what its successor wrote.

A time further ahead than anyone writes one comes from a clock that was set back since, or goes wrong: such a pause is over, such a
lease void. It may end a lease that still held; that costs a second look at the job, no more, thanks to the fence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, or_, select, text, update
from sqlalchemy.orm import Session

from service.bodies.states import State
from service.db.session import Database
from service.db.tables import Job

LONGEST_PAUSE = timedelta(seconds=60)
"""No `due_at` is written further ahead."""
WATCHED = text("watched")  # as the index has it: no planner proves it from a parameter


class LostLeaseError(Exception):
    """Another reconciler owns the job now, or it changed meanwhile: decide anew."""


def due_by(now: datetime) -> ColumnElement[bool]:
    """Whether a job's pause is over."""
    return or_(Job.due_at <= now, Job.due_at > now + LONGEST_PAUSE)


def due(db: Database, now: datetime, lease: timedelta, limit: int) -> Sequence[int]:
    """Jobs on the cluster that nobody owns and that it is time to look at: those with news first."""
    with db.read() as session:
        statement = select(Job.number).where(WATCHED, due_by(now), _free(now, lease))
        return session.scalars(statement.order_by(Job.due_at).limit(limit)).all()


def claim(db: Database, number: int, owner: str, now: datetime, lease: timedelta) -> Job | None:
    """The job with its new fence; None if another was faster."""
    with db.begin() as session:
        statement = (
            update(Job)
            .where(Job.number == number, WATCHED, _free(now, lease))
            .values(lease_owner=owner, lease_until=now + lease, fence=Job.fence + 1)
        )
        if session.execute(statement.returning(Job.number)).first() is None:
            return None
        return session.get_one(Job, number)


def read(db: Database, numbers: Sequence[int]) -> Sequence[Job]:
    """These jobs as they are, owned by nobody."""
    with db.read() as session:
        return session.scalars(select(Job).where(Job.number.in_(numbers), WATCHED)).all()


@contextmanager
def unowned(
    db: Database, jobs: Mapping[int, Job], now: datetime, lease: timedelta
) -> Iterator[tuple[Session, list[Job]]]:
    """A transaction on those of these jobs, by number, that nobody has owned or changed since they were read, and that are due yet: locked.

    In the order of their owners, whose hours are counted with them: two who do this don't wait for each other in a circle.
    """
    with db.begin() as session:
        same = select(Job).where(Job.number.in_(jobs), WATCHED, due_by(now), _free(now, lease))
        found = session.scalars(same.order_by(Job.owner, Job.number).with_for_update())
        known = {number: (job.fence, job.revision) for number, job in jobs.items()}
        yield session, [row for row in found if (row.fence, row.revision) == known[row.number]]


def _free(now: datetime, lease: timedelta) -> ColumnElement[bool]:
    """Twice the lease: another reconciler's settings may be longer."""
    return or_(Job.lease_until.is_(None), Job.lease_until < now, Job.lease_until > now + 2 * lease)


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


def strays(db: Database, attempts: dict[str, list[int]]) -> set[tuple[str, int]]:
    """Of these jobs (id → attempts that are on Ray) those attempts whose job has ended, is paused or has a newer one."""
    with db.read() as session:
        rows = session.execute(
            select(Job.id, Job.finished_at, Job.state, Job.attempt).where(Job.id.in_(attempts))
        ).all()
    return {
        (job_id, attempt)
        for job_id, finished_at, state, newest in rows
        for attempt in attempts[job_id]
        if finished_at is not None or state == State.PAUSED or attempt < newest
    }
