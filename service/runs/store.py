"""All SQL on runs that requests need; the reconciler's is in `service.reconciler.store`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, false, not_, or_, select, text
from sqlalchemy.orm import Session

from service.bodies.states import State
from service.db.tables import AT_ONCE, WAITING, Job, JobChange, JobEvent, TapeEntry, Trial
from service.errors import NotFound
from service.runs import counting, limits, order
from service.runs.kinds import JOB, KINDS, SEARCH, Kind, kind_of, need_of, queue_of
from service.runs.lifecycle import Trigger, advance
from trainer.search import TrialState


def get(session: Session, run_id: str, kind: Kind | None = JOB, *, lock: bool = False) -> Job:
    """One run of that kind (None: of any); `lock` keeps other writers out until the transaction ends. Raises NotFound."""
    job = session.scalar(_LOCKED if lock else _BY_ID, {"of_id": run_id})
    if job is None or job.kind not in ([kind.name] if kind else KINDS):
        known = kind or JOB
        raise NotFound(f"no {known.name} {run_id!r}; GET {known.path} lists them")
    return job


_BY_ID = select(Job).where(Job.id == bindparam("of_id"))  # made once: most requests execute it
_LOCKED = _BY_ID.with_for_update()


def want(job: Job, desired: str) -> None:
    """Write what is wanted of a run that the reconciler looks after, and have it look."""
    job.desired, job.revision, job.due_at = desired, job.revision + 1, AT_ONCE


def late(before: datetime | None) -> ColumnElement[bool]:
    """Whether Ray took it before that, and it still waits for nodes; None: no nodes are ever started."""
    if before is None:
        return false()
    return and_(
        Job.state == State.STARTING, Job.waiting != "", Job.submitted_at.is_not(None), Job.submitted_at < before
    )


def others_wait(session: Session, job: Job, before: datetime | None = None) -> bool:
    """Whether another run waits for what this one would take next, or was admitted and hasn't taken its place yet.

    One that no cluster of this size can hold doesn't count, nor one that has waited for nodes since before that. Searches ask often,
    however many wait: nothing is read but a yes.
    """
    mine = need_of(job)
    lacking = ["any", *(["cpu"] if mine.cpus else []), *(["gpu"] if mine.gpus else [])]
    waits = and_(text(WAITING), Job.lacks.in_(lacking))
    began = select(Trial.id).where(Trial.job_number == Job.number, Trial.state != TrialState.PENDING).exists()
    # A search runs before its first trial does.
    fresh = and_(Job.state == State.RUNNING, Job.kind == SEARCH.name, ~began)
    placing = and_(text("watched"), or_(and_(Job.state == State.STARTING, not_(late(before))), fresh))
    other = select(Job.number).where(Job.number != job.number, Job.desired == "run")
    return any(session.scalar(other.where(how).limit(1)) is not None for how in (waits, placing))


def at_rest(job: Job) -> bool:
    """Whether it has ended and its driver is gone: nobody writes into its folder, or goes on from it, unless it is put back."""
    return State(job.state).ended and not job.watched


def take_turn(job: Job) -> None:
    """Have the queue go by the row's spec: the place is that which the run would have if it had been submitted so, then."""
    queue = queue_of(job.spec)
    arrived = order.arrived(job.place, job.priority, job.delay)
    job.place = order.place(arrived, queue.priority, job.delay)
    job.priority, job.preemptible = queue.priority, queue.preemptible


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


def move(
    session: Session,
    job: Job,
    trigger: Trigger,
    reason: str,
    failure: dict[str, Any] | None = None,
    cause: str | None = None,
) -> None:
    """Change the state by the table and note it. cause: of a retry, why the attempt was lost. Raises IllegalTransitionError."""
    state, now = advance(State(job.state), trigger), datetime.now(UTC)
    counting.moved(session, job, trigger, now, failure=(failure or {}).get("kind"), cause=cause)
    limits.moved(job, state, now)
    job.state, job.reason, job.failure, job.lacks = state, reason, failure, ""
    if state is State.RUNNING and job.started_at is None:
        job.started_at = now
    if state.ended:
        job.finished_at = now
    else:  # what has ended is watched until its driver is gone
        job.watched = state.on_ray
    if trigger in (Trigger.ADMIT, Trigger.RETRY, Trigger.YIELD):
        job.submitted_at, job.stop_at, job.tries, job.training_workers = None, None, 0, 0
    if trigger is Trigger.YIELD:  # it takes none of its attempts
        job.yields, job.attempts_before = job.yields + 1, job.attempts_before + 1
    elif trigger not in (Trigger.START, Trigger.STOP):
        job.yields_to = None
    limits.watch(job, now)
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
    note(session, job, job.reason)


def note(session: Session, job: Job, reason: str) -> None:
    """Tell whoever follows the run something that changes neither its state nor the reason that it has."""
    now = datetime.now(UTC)
    change = JobChange(job_number=job.number, time=now, state=job.state, attempt=job.attempt, reason=reason)
    session.add(TapeEntry(job_number=job.number, change=change))
