"""All SQL on runs that requests need; the reconciler's is in `service.reconciler.store`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import and_, bindparam, or_, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.access.tokens import Principal
from service.bodies.states import State
from service.db.session import Database
from service.db.tables import AT_ONCE, WAITING, Job, JobChange, JobEvent, TapeEntry, Trial
from service.errors import Conflict, NotFound
from service.repeats.key import other_body
from service.runs import caps, counting, limits, marks, numbers, order, planned, share
from service.runs.kinds import JOB, KINDS, SEARCH, Kind, kind_of, need_of, queue_of
from service.runs.lifecycle import Trigger, advance
from trainer import trace
from trainer.search import SearchSpec, TrialState
from trainer.spec import JobSpec
from trainer.wire import Fork


@dataclass(frozen=True)
class Submission:
    """What a client asked for."""

    id: str
    spec: JobSpec | SearchSpec
    caller: Principal
    request_digest: str
    """SHA-256 of the canonical request; a key that comes back with another one is a conflict."""
    idempotency_key: str | None = None
    kind: Kind = JOB
    trial: str | None = None
    """The trial that the job goes on with."""
    parent: str | None = None
    """The run that it goes on with, the trial's search."""
    fork: Fork | None = None
    """The checkpoint that it begins with."""
    plan_seconds: float | None = None
    """How long it trains by a plan that was made of it, for the cluster's devices."""
    most_delay: float = 0.0
    """Hours: it counts as submitted by less than that later, for what its owner used and has in hand; 0: not at all."""

    @property
    def job(self) -> JobSpec:
        """The job's spec, or the one that the search varies."""
        return self.spec.base if isinstance(self.spec, SearchSpec) else self.spec


def create(db: Database, asked: Submission) -> tuple[Job, bool]:
    """Store a run; the second value is False if the idempotency key had made it before.

    Raises Invalid for a key that made another one, Conflict if the owner has as many in the queue as they may have.
    """
    try:
        with db.begin() as session:
            admitted(session, asked)
            return _insert(session, asked), True
    except (IntegrityError, OverCap):
        known = find_repeated(db, asked.caller.id, asked.idempotency_key, asked.request_digest)
        if known is None:
            raise
        return known, False


class OverCap(Conflict):
    """The owner may not have another one in the queue."""


def admitted(session: Session, asked: Submission) -> None:
    """Raises OverCap if the queue holds as many of the owner's runs as it may; two submissions at once are looked at one by one."""
    owner = asked.caller.owner
    most = caps.of(session, owner, lock=True)[0].waiting
    if most is None or (has := caps.waiting(session, owner)) < most:
        return
    what = f"{most} run{'' if most == 1 else 's'}"
    raise OverCap(
        f"{owner} may have {what} in the queue, and has {has}; wait until one starts, cancel one, or ask an administrator for more"
    )


def find_repeated(db: Database, principal: str, key: str | None, digest: str) -> Job | None:
    """The run that this key made before. Raises Invalid if it was made from another body."""
    if key is None:
        return None
    with db.read() as session:
        job = session.scalar(select(Job).where(Job.principal == principal, Job.idempotency_key == key))
    if job is not None and job.request_digest != digest:
        raise other_body(f"{key!r} made {job.kind} {job.id} from another body", f"use a new key for a new {job.kind}")
    return job


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


def _insert(session: Session, asked: Submission) -> Job:
    spec = asked.spec.model_dump(mode="json")
    workers, cpus, gpus = asked.kind.need(spec)
    queue, now = queue_of(spec), datetime.now(UTC)
    arrived = order.arrival(now, _newest(session))
    delay, load = _delay(session, asked, queue.priority, arrived, now)
    job = Job(
        number=numbers.following(session),
        id=asked.id,
        kind=asked.kind.name,
        name=asked.spec.name,
        family=asked.job.arch.family,
        spec=spec,
        spec_digest=asked.spec.digest(),
        principal=asked.caller.id,
        owner=asked.caller.owner,
        idempotency_key=asked.idempotency_key,
        request_digest=asked.request_digest,
        trial=asked.trial,
        parent=asked.parent,
        fork=asked.fork.model_dump(mode="json") if asked.fork else None,
        created_at=now,
        traceparent=str(here) if (here := trace.current()) else None,
        workers=workers,
        worker_cpus=cpus,
        worker_gpus=gpus,
        priority=queue.priority,
        preemptible=queue.preemptible,
        place=order.place(arrived, queue.priority, delay),
        delay=delay,
        load=load,
        due_at=AT_ONCE,
        state=State.SUBMITTED,
        queued_at=now,
    )
    session.add(job)
    session.flush()
    limits.watch(job, now)
    planned.write(session, job, asked.plan_seconds)
    marks.add_labels(session, job)
    record_change(session, job)
    return job


def _delay(
    session: Session, asked: Submission, priority: int, arrived: int, now: datetime
) -> tuple[int, dict[str, float] | None]:
    """By how many microseconds it counts as submitted later, and for which load."""
    mine = share.of(session, asked.caller.owner, priority, now)
    delay = share.behind_own(share.delay(mine.load, asked.most_delay), arrived, mine.newest, mine.latest)
    return delay, mine.load._asdict() if delay else None


_LAST = select(Job.place, Job.priority, Job.delay).order_by(Job.number.desc()).limit(1)  # made once, as is `share`'s


def _newest(session: Session) -> int | None:
    """When the run arrived that was submitted last."""
    last = session.execute(_LAST).first()
    return None if last is None else order.arrived(*last)
