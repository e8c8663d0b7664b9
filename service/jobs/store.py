"""All SQL on runs that requests need; the reconciler's is in `service.reconciler.store`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, and_, or_, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service import paging
from service.db.session import Database
from service.db.tables import AT_ONCE, WAITING, Job, JobChange, JobEvent, Trial
from service.errors import Conflict, NotFound
from service.jobs.kinds import JOB, KINDS, SEARCH, Kind, kind_of, need_of
from service.jobs.lifecycle import State, Trigger, advance
from trainer.search import SearchSpec, TrialState
from trainer.spec import JobSpec


@dataclass(frozen=True)
class Submission:
    """What a client asked for."""

    id: str
    spec: JobSpec | SearchSpec
    principal: str
    request_digest: str
    """SHA-256 of the canonical request; a key that comes back with another one is a conflict."""
    idempotency_key: str | None = None
    kind: Kind = JOB
    trial: str | None = None
    """The trial that the job goes on with."""

    @property
    def job(self) -> JobSpec:
        """The job's spec, or the one that the search varies."""
        return self.spec.base if isinstance(self.spec, SearchSpec) else self.spec


def create(db: Database, asked: Submission) -> tuple[Job, bool]:
    """Store a run; the second value is False if the idempotency key had made it before. Raises Conflict."""
    try:
        with db.begin() as session:
            return _insert(session, asked), True
    except IntegrityError:
        known = find_repeated(db, asked.principal, asked.idempotency_key, asked.request_digest)
        if known is None:
            raise
        return known, False


def find_repeated(db: Database, principal: str, key: str | None, digest: str) -> Job | None:
    """The run that this key made before. Raises Conflict if it was made from another body."""
    if key is None:
        return None
    with db.read() as session:
        job = session.scalar(select(Job).where(Job.principal == principal, Job.idempotency_key == key))
    if job is not None and job.request_digest != digest:
        detail = f"Idempotency-Key {key!r} made {job.kind} {job.id} from another body; use a new key"
        raise Conflict(f"{detail} for a new {job.kind}")
    return job


def get(session: Session, run_id: str, kind: Kind | None = JOB, *, lock: bool = False) -> Job:
    """One run of that kind (None: of any); `lock` keeps other writers out until the transaction ends. Raises NotFound."""
    statement = select(Job).where(Job.id == run_id, Job.kind.in_([kind.name] if kind else KINDS))
    job = session.scalar(statement.with_for_update() if lock else statement)
    if job is None:
        known = kind or JOB
        raise NotFound(f"no {known.name} {run_id!r}; GET {known.path} lists them")
    return job


def page(
    session: Session,
    kind: Kind = JOB,
    *,
    state: State | None,
    name: str | None,
    limit: int,
    cursor: str | None,
    family: str | None = None,
) -> tuple[Sequence[Job], str | None]:
    """Newest first."""
    statement = listed(kind, state=state, name=name, family=family, before=paging.decode(cursor), limit=limit + 1)
    rows = session.scalars(statement).all()
    return rows[:limit], paging.encode(rows[limit - 1].number) if len(rows) > limit else None


def listed(
    kind: Kind, *, state: State | None, name: str | None, family: str | None, before: int | None, limit: int
) -> Select[Job]:
    """The statement behind a page. Each filter, and state with another one, has an index of its own; of one name there are few."""
    statement = select(Job).where(Job.kind == kind.name).order_by(Job.number.desc()).limit(limit)
    # SQLite, which keeps no statistics, would take an index of the family for as good as one of the name.
    of_family = Job.family if name is None else Job.family.concat("")
    for column, value in ((Job.state, state), (Job.name, name), (of_family, family)):
        if value is not None:
            statement = statement.where(column == value)
    return statement if before is None else statement.where(Job.number < before)


def cancel(session: Session, run_id: str, kind: Kind = JOB) -> Job:
    """Write that the run shall stop; the reconciler sees to it. Raises NotFound, Conflict once it has ended."""
    job = get(session, run_id, kind, lock=True)
    if State(job.state).ended:
        raise Conflict(f"{kind.name} {run_id} has {job.state} already")
    if job.state == State.PAUSED:
        put_back(session, job, Trigger.CANCEL, "cancelled while it was paused", "stop")
    elif job.desired != "stop":
        want(job, "stop")
    return job


TRIED_AGAIN = "tried again"
"""Reason of the change by which a job that had ended goes on."""


def retry(session: Session, job_id: str) -> Job:
    """Put a job that has failed or was cancelled back into the queue, for its next attempt with as many tries as the first.

    Asked again before that attempt trains, nothing changes. Raises NotFound, Conflict in another state.
    """
    job = get(session, job_id, lock=True)
    state = State(job.state)
    if state in (State.FAILED, State.CANCELLED):
        put_back(session, job, Trigger.TRY_AGAIN, TRIED_AGAIN, "run")
    elif state is State.RUNNING or state is State.STOPPING or not _is_tried_again(session, job):
        raise Conflict(f"job {job_id} {WHY_NOT.get(state, 'has not ended; it is tried for the first time')}")
    return job


WHY_NOT = {
    State.SUCCEEDED: "has succeeded, so there is nothing to try again; submit a new job with more train.images",
    State.RUNNING: "is running; it can be tried again once it has failed or was cancelled",
    State.STOPPING: "is being cancelled; try it again once it is cancelled",
}


def _is_tried_again(session: Session, job: Job) -> bool:
    """Whether it is where a retry has put it: nobody asked for its end since, and its attempt doesn't train yet."""
    statement = select(JobChange.reason, JobChange.state).where(JobChange.job_number == job.number)
    for reason, state in session.execute(statement.order_by(JobChange.id.desc())):
        if State(state).ended:
            return False
        if reason == TRIED_AGAIN:
            return job.desired == "run"
    return False


def want(job: Job, desired: str) -> None:
    """Write what is wanted of a run that the reconciler looks after, and have it look."""
    job.desired, job.revision, job.due_at = desired, job.revision + 1, AT_ONCE


def others_wait(session: Session, job: Job) -> bool:
    """Whether another run waits for what this one would take next, or was admitted and hasn't taken its place yet.

    One that no cluster of this size can hold doesn't count. Searches ask often, however many wait: nothing is read but a yes.
    """
    mine = need_of(job)
    lacking = ["any", *(["cpu"] if mine.cpus else []), *(["gpu"] if mine.gpus else [])]
    waits = and_(text(WAITING), Job.lacks.in_(lacking))
    began = select(Trial.id).where(Trial.job_number == Job.number, Trial.state != TrialState.PENDING).exists()
    # A search runs before its first trial does.
    fresh = and_(Job.state == State.RUNNING, Job.kind == SEARCH.name, ~began)
    placing = and_(text("watched"), or_(Job.state == State.STARTING, fresh))
    other = select(Job.number).where(Job.number != job.number, Job.desired == "run")
    return any(session.scalar(other.where(how).limit(1)) is not None for how in (waits, placing))


def put_back(session: Session, job: Job, trigger: Trigger, reason: str, desired: str) -> None:
    """Move a run that no reconciler owns because it is paused or has ended. The caller holds the row's lock.

    Raises IllegalTransitionError.
    """
    move(session, job, trigger, reason)
    job.fence += 1  # whoever owned it before it ended
    want(job, desired)
    if not State(job.state).ended:
        job.attempts_before, job.finished_at, job.waiting = job.attempt, None, ""
        job.workers, job.worker_cpus, job.worker_gpus = kind_of(job).need(job.spec)


def move(session: Session, job: Job, trigger: Trigger, reason: str, failure: dict[str, Any] | None = None) -> None:
    """Change the state by the table and note it. Raises IllegalTransitionError."""
    state, now = advance(State(job.state), trigger), datetime.now(UTC)
    job.state, job.reason, job.failure, job.lacks = state, reason, failure, ""
    if state is State.RUNNING and job.started_at is None:
        job.started_at = now
    if state.ended:
        job.finished_at = now
    else:  # what has ended is watched until its driver is gone
        job.watched = state.on_ray
    if trigger in (Trigger.ADMIT, Trigger.RETRY):
        job.submitted_at, job.stop_at, job.tries = None, None, 0
    record_change(session, job)


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
    spec = asked.spec.model_dump(mode="json")
    workers, cpus, gpus = asked.kind.need(spec)
    job = Job(
        id=asked.id,
        kind=asked.kind.name,
        name=asked.spec.name,
        family=asked.job.arch.family,
        spec=spec,
        spec_digest=asked.spec.digest(),
        principal=asked.principal,
        idempotency_key=asked.idempotency_key,
        request_digest=asked.request_digest,
        trial=asked.trial,
        created_at=datetime.now(UTC),
        workers=workers,
        worker_cpus=cpus,
        worker_gpus=gpus,
        due_at=AT_ONCE,
        state=State.SUBMITTED,
    )
    session.add(job)
    session.flush()
    record_change(session, job)
    return job
