"""Stores what was submitted, all of it in one transaction: the run, its labels, what is told of it.

Many come at once, and on SQLite one after another: so the row is made whole before it is written, by statements that are made once, and
what the database is asked for is asked together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.access.tokens import Principal
from service.bodies.states import State
from service.db.session import Database, beside, made
from service.db.tables import AT_ONCE, Base, Job
from service.errors import Conflict
from service.repeats.key import other_body
from service.runs import caps, limits, marks, numbers, order, planned, share
from service.runs.kinds import JOB, Kind, queue_of
from trainer import trace
from trainer.search import SearchSpec
from trainer.spec import JobSpec, digest_of
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
    spec = asked.spec.model_dump(mode="json")  # before anyone waits for this transaction
    digest = digest_of(spec)
    try:
        with db.begin() as session:
            admitted(session.connection(), asked)
            return _insert(session, asked, spec, digest), True
    except (IntegrityError, OverCap):
        known = find_repeated(db, asked.caller.id, asked.idempotency_key, asked.request_digest)
        if known is None:
            raise
        return known, False


class OverCap(Conflict):
    """The owner may not have another one in the queue."""


def admitted(connection: Connection, asked: Submission) -> None:
    """Raises OverCap if the queue holds as many of the owner's runs as it may; two submissions at once are looked at one by one."""
    owner = asked.caller.owner
    most = caps.of(connection, owner, lock=True)[0].waiting
    if most is None or (has := caps.waiting(connection, owner)) < most:
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


def preview(session: Session, asked: Submission) -> Job:
    """The row as it would be written now; nothing is. Its number, where the database would choose it, is behind all."""
    spec = asked.spec.model_dump(mode="json")
    job = _row(session.connection(), asked, spec, digest_of(spec))
    job.number = job.number or BEHIND_ALL
    return job


def _insert(session: Session, asked: Submission, spec: dict[str, Any], digest: str) -> Job:
    connection = session.connection()
    job = _row(connection, asked, spec, digest)
    limits.watch(job, job.created_at)
    planned.write(connection, job, asked.plan_seconds)
    _write(connection, job)
    made(session, job)
    return job


def _row(connection: Connection, asked: Submission, spec: dict[str, Any], digest: str) -> Job:
    queue, now = queue_of(spec), datetime.now(UTC)
    last = connection.execute(_LAST).one()
    newest = None if last.number is None else order.arrived(last.place, last.priority, last.delay)
    arrived = order.arrival(now, newest)
    delay, load = _delay(connection, asked, queue.priority, arrived, now)
    workers, cpus, gpus = asked.kind.need(spec)
    return Job(
        **{
            **BLANK,
            "number": numbers.following(connection, last.number, last.turns),
            "id": asked.id,
            "kind": asked.kind.name,
            "name": asked.spec.name,
            "family": asked.job.arch.family,
            "spec": spec,
            "spec_digest": digest,
            "principal": asked.caller.id,
            "owner": asked.caller.owner,
            "idempotency_key": asked.idempotency_key,
            "request_digest": asked.request_digest,
            "trial": asked.trial,
            "parent": asked.parent,
            "fork": asked.fork.model_dump(mode="json") if asked.fork else None,
            "created_at": now,
            "traceparent": str(here) if (here := trace.current()) else None,
            "workers": workers,
            "worker_cpus": cpus,
            "worker_gpus": gpus,
            "priority": queue.priority,
            "preemptible": queue.preemptible,
            "place": order.place(arrived, queue.priority, delay),
            "delay": delay,
            "load": load,
            "due_at": AT_ONCE,
            "state": State.SUBMITTED,
            "queued_at": now,
        }
    )


def _write(connection: Connection, job: Job) -> None:
    """The row, and what lies in other tables of it: its labels, its first state and the place of that on the tape."""
    row = {name: value for name in BLANK if (value := getattr(job, name)) is not None}
    job.number = connection.execute(_JOB, row).scalar_one()
    if labels := marks.labels(job):
        connection.execute(_LABEL, labels)
    first = {"job_number": job.number, "time": job.created_at, "state": job.state, "attempt": 0, "reason": ""}
    change = connection.execute(_CHANGE, first).scalar_one()
    connection.execute(_TOLD, {"job_number": job.number, "change_id": change})


def _delay(
    connection: Connection, asked: Submission, priority: int, arrived: int, now: datetime
) -> tuple[int, dict[str, float] | None]:
    """By how many microseconds it counts as submitted later, and for which load."""
    mine = share.of(connection, asked.caller.owner, priority, now)
    delay = share.behind_own(share.delay(mine.load, asked.most_delay), arrived, mine.newest, mine.latest)
    return delay, mine.load._asdict() if delay else None


def _blank() -> dict[str, Any]:
    """Of each column what a row has that says nothing of it."""
    defaults = {column.key: column.default for column in Job.__table__.columns}
    return {name: default.arg if default is not None else None for name, default in defaults.items()}


BLANK = _blank()
BEHIND_ALL = 1 << 62
_TABLES = Base.metadata.tables
# Made once: every submission executes them.
_JOB = insert(_TABLES["jobs"]).returning(_TABLES["jobs"].c.number)
_CHANGE = insert(_TABLES["job_changes"]).returning(_TABLES["job_changes"].c.id)
_LABEL, _TOLD = insert(_TABLES["job_labels"]), insert(_TABLES["tape"])
_LAST = beside(
    select(Job.number, Job.place, Job.priority, Job.delay).order_by(Job.number.desc()).limit(1),
    numbers.DELETED,
)
