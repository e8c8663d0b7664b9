"""All SQL on jobs that requests need; the reconciler's is in `service.reconciler.store`."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service import paging
from service.db.session import Database
from service.db.tables import Job, JobChange, JobEvent
from service.errors import Conflict, NotFound
from service.jobs.lifecycle import State
from trainer.spec import JobSpec


@dataclass(frozen=True)
class Submission:
    """What a client asked for."""

    spec: JobSpec
    principal: str
    request_digest: str
    """SHA-256 of the canonical request; a key that comes back with another one is a conflict."""
    idempotency_key: str | None = None


def create(db: Database, asked: Submission) -> tuple[Job, bool]:
    """Store a job; the second value is False if the idempotency key had made it before. Raises Conflict."""
    try:
        with db.begin() as session:
            return _insert(session, asked), True
    except IntegrityError:
        known = find_repeated(db, asked.principal, asked.idempotency_key, asked.request_digest)
        if known is None:
            raise
        return known, False


def find_repeated(db: Database, principal: str, key: str | None, digest: str) -> Job | None:
    """The job that this key made before. Raises Conflict if it was made from another body."""
    if key is None:
        return None
    with db.read() as session:
        job = session.scalar(select(Job).where(Job.principal == principal, Job.idempotency_key == key))
    if job is not None and job.request_digest != digest:
        raise Conflict(f"Idempotency-Key {key!r} made job {job.id} from another body; use a new key for a new job")
    return job


def get(session: Session, job_id: str, *, lock: bool = False) -> Job:
    """One job; `lock` keeps other writers out until the transaction ends. Raises NotFound."""
    statement = select(Job).where(Job.id == job_id)
    job = session.scalar(statement.with_for_update() if lock else statement)
    if job is None:
        raise NotFound(f"no job {job_id!r}; GET /v1/jobs lists them")
    return job


def page(
    session: Session, *, state: State | None, name: str | None, family: str | None, limit: int, cursor: str | None
) -> tuple[Sequence[Job], str | None]:
    """Newest first."""
    statement = select(Job).order_by(Job.number.desc()).limit(limit + 1)
    for column, value in ((Job.state, state), (Job.name, name), (Job.family, family)):
        if value is not None:
            statement = statement.where(column == value)
    if (before := paging.decode(cursor)) is not None:
        statement = statement.where(Job.number < before)
    rows = session.scalars(statement).all()
    return rows[:limit], paging.encode(rows[limit - 1].number) if len(rows) > limit else None


def cancel(session: Session, job_id: str) -> Job:
    """Write that the job shall stop; the reconciler sees to it. Raises NotFound, Conflict once it has ended."""
    job = get(session, job_id, lock=True)
    if State(job.state).ended:
        raise Conflict(f"job {job_id} has {job.state} already")
    if job.desired != "stop":
        job.desired, job.revision, job.due_at = "stop", job.revision + 1, datetime.now(UTC)
    return job


def events_after(session: Session, job: Job, seq: int, limit: int) -> Sequence[JobEvent]:
    """Events behind `seq` in order. Until the job has ended, none behind a gap, so that `Last-Event-ID` skips nothing."""
    statement = select(JobEvent).where(JobEvent.job_number == job.number, JobEvent.seq > seq)
    if not State(job.state).ended:
        statement = statement.where(JobEvent.seq <= job.acked)
    return session.scalars(statement.order_by(JobEvent.seq).limit(limit)).all()


def changes_after(session: Session, job: Job, change_id: int) -> Sequence[JobChange]:
    """Changes of state behind `change_id` in order."""
    statement = select(JobChange).where(JobChange.job_number == job.number, JobChange.id > change_id)
    return session.scalars(statement.order_by(JobChange.id)).all()


def record_change(session: Session, job: Job) -> None:
    """Note the state that the job has now."""
    session.add(
        JobChange(
            job_number=job.number, time=datetime.now(UTC), state=job.state, attempt=job.attempt, reason=job.reason
        )
    )


def _insert(session: Session, asked: Submission) -> Job:
    now = datetime.now(UTC)
    job = Job(
        id=f"j-{secrets.token_hex(6)}",
        name=asked.spec.name,
        family=asked.spec.arch.family,
        spec=asked.spec.model_dump(mode="json"),
        spec_digest=asked.spec.digest(),
        principal=asked.principal,
        idempotency_key=asked.idempotency_key,
        request_digest=asked.request_digest,
        created_at=now,
        due_at=now,
        state=State.SUBMITTED,
    )
    session.add(job)
    session.flush()
    record_change(session, job)
    return job
