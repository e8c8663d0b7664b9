"""Tables of runs: jobs and searches, and what hangs on them.

Who writes what in `jobs`, so that no two writers fight over a column: the API writes `desired`; event ingestion writes what the
job reports (`acked` … `outcome`); the reconciler, under its lease, writes `state` and all that follows from it. What is paused or has
ended has no lease: the API itself puts it back into the queue. Ingestion and the API bump `revision` when they change something that
the reconciler decides by. In `trials`, ingestion writes all but `stop`, which the API does; both hold the lock of the search's row.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)  # fmt: skip
from sqlalchemy.orm import Mapped, mapped_column

from service.db.base import Base, BigId
from service.db.noted import UNTOLD, NotedColumns
from service.db.usage import UsageColumns

LIMITED = "limit_at IS NOT NULL"
WAITING = "state IN ('submitted', 'queued')"
YIELDING = "yields_to IS NOT NULL"
LEAVING = "state || '' IN ('submitted', 'queued') AND desired <> 'run'"
"""As an expression: SQLite, which keeps no statistics, would take the index of the whole queue for as good as this one's."""
SCORED = "kind = 'scores'"
RARE = "kind IN ('started', 'warning', 'rolled-back', 'limit', 'restarted', 'published', 'finished', 'failed')"
"""Events that happen now and then: what happened to a job is read without all that it measured."""


class Job(UsageColumns, NotedColumns, Base):
    """One run: a training or, by `kind`, a search (`service.runs.kinds`)."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("principal", "idempotency_key", name="uq_jobs_idempotency"),
        Index("ix_jobs_kind", "kind", "number"),
        # One for every filter of the lists: what is asked for lies together, newest last.
        Index("ix_jobs_list_state", "kind", "state", "number"),
        Index("ix_jobs_list_name", "kind", "name", "number"),
        Index("ix_jobs_list_family", "kind", "family", "number"),
        Index("ix_jobs_list_name_state", "kind", "name", "state", "number"),
        Index("ix_jobs_list_family_state", "kind", "family", "state", "number"),
        Index("ix_jobs_list_owner", "kind", "owner", "number"),
        Index("ix_jobs_list_owner_state", "kind", "owner", "state", "number"),
        # All that the queue decides by, without the rows themselves, whose specs are long.
        Index(
            "ix_jobs_queue",
            *("state", "number", "desired", "due_at", "workers", "worker_cpus", "worker_gpus"),
            *("attempt", "place", "priority", "revision", "owner", "delay"),
            sqlite_where=text(WAITING),
            postgresql_where=text(WAITING),
        ),
        # What one owner has in it.
        Index(
            "ix_jobs_owner_line",
            *("owner", "state", "workers", "worker_cpus", "worker_gpus", "place", "priority", "delay"),
            sqlite_where=text(WAITING),
            postgresql_where=text(WAITING),
        ),
        Index("ix_jobs_parent", "parent", "number"),
        Index("ix_jobs_leaving", "number", sqlite_where=text(LEAVING), postgresql_where=text(LEAVING)),
        Index("ix_jobs_limit", "limit_at", sqlite_where=text(LIMITED), postgresql_where=text(LIMITED)),
        Index("ix_jobs_yielding", "yields_to", sqlite_where=text(YIELDING), postgresql_where=text(YIELDING)),
        Index("ix_jobs_untold", "untold_at", sqlite_where=text(UNTOLD), postgresql_where=text(UNTOLD)),
        Index("ix_jobs_watched", "due_at", sqlite_where=text("watched"), postgresql_where=text("watched")),
    )

    number: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    """Order of arrival: what lists sort by."""
    id: Mapped[str] = mapped_column(String(40), unique=True)
    kind: Mapped[str] = mapped_column(String(16), default="job", server_default="job")
    name: Mapped[str] = mapped_column(String(64))
    family: Mapped[str] = mapped_column(String(64))
    spec: Mapped[dict[str, Any]]
    spec_digest: Mapped[str] = mapped_column(String(64))
    principal: Mapped[str] = mapped_column(String(64))
    """Id of the token that created it."""
    owner: Mapped[str] = mapped_column(String(64), default="", server_default="")
    """The person whose it is: the token's owner when it was created."""
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    request_digest: Mapped[str] = mapped_column(String(64))
    trial: Mapped[str | None] = mapped_column(String(64))
    """`s-0123456789ab/t-00003`: the trial that this job goes on with."""
    parent: Mapped[str | None] = mapped_column(String(40))
    """Id of the run that it goes on with, the trial's search; it stays when that run is deleted."""
    fork: Mapped[dict[str, Any] | None]
    """The `Fork`: which checkpoint it began with; None: it began afresh, or before this was written down."""
    created_at: Mapped[datetime]
    traceparent: Mapped[str | None] = mapped_column(String(55))
    """Of the request that submitted it (W3C Trace Context); its attempts are spans of that trace."""

    workers: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """What it takes of the cluster, from its spec: so many workers with …"""
    worker_cpus: Mapped[float] = mapped_column(Double, default=0.0, server_default="0")
    worker_gpus: Mapped[float] = mapped_column(Double, default=0.0, server_default="0")
    priority: Mapped[int] = mapped_column(Integer, default=50, server_default="50")
    """Its turn, from its spec's `queue`."""
    preemptible: Mapped[bool] = mapped_column(default=False, server_default=false())
    place: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    """What the queue sorts by, then the number (`service.runs.order`)."""
    delay: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    """Microseconds by which it counts as submitted later there, from its submission on (`service.runs.share`)."""
    load: Mapped[dict[str, Any] | None]
    """Its owner's at that time, for which it does: {used, held}, in hours of the whole cluster; None: it isn't delayed."""
    yields_to: Mapped[str | None] = mapped_column(String(40))
    """The run that it makes room for, or made room for, until it goes on. Written by whoever decides of the queue."""
    yields_priority: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """The priority of that one."""
    yields: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """How often it has made room."""

    desired: Mapped[str] = mapped_column(String(8), default="run")
    revision: Mapped[int] = mapped_column(Integer, default=0)

    acked: Mapped[int] = mapped_column(BigInteger, default=0)
    """All events up to this seq are stored, and they alone are applied."""
    progress: Mapped[dict[str, Any] | None]
    mlflow_run_id: Mapped[str | None] = mapped_column(String(64))
    model: Mapped[dict[str, Any] | None]
    started_attempt: Mapped[int] = mapped_column(Integer, default=0)
    """The newest attempt whose training has begun."""
    outcome: Mapped[dict[str, Any] | None]
    """How the job says that it ended: {attempt, seq, result: completed|stopped|failed, kind, reason}."""
    waiting: Mapped[str] = mapped_column(Text, default="")
    """What the job says that it waits for."""

    state: Mapped[str] = mapped_column(String(16), default="submitted")
    reason: Mapped[str] = mapped_column(Text, default="")
    lacks: Mapped[str] = mapped_column(String(8), default="", server_default="")
    """Of a job that waits for what others use, of which resource too little is free: cpu, gpu or any."""
    failure: Mapped[dict[str, Any] | None]
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    attempts_before: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """Attempts made before it was resumed or extended; they don't count against those that it may take now."""
    submitted_at: Mapped[datetime | None]
    """When Ray took the current attempt; None while that isn't certain."""
    tries: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """How often Ray answered with an error of its own when the current attempt was handed over."""
    started_at: Mapped[datetime | None]
    stop_at: Mapped[datetime | None]
    """When the grace period of a cancelled job ends."""
    finished_at: Mapped[datetime | None]

    watched: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether it, or after its end its driver, may be on the cluster: the reconciler looks when it is due."""
    due_at: Mapped[datetime]
    """When the reconciler looks next."""
    lease_owner: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(BigInteger, default=0)
    """Counts leases; a write needs the number of its own lease."""


class JobEvent(Base):
    """One event that a job reported."""

    __tablename__ = "job_events"
    __table_args__ = (
        # What was measured at a step, without reading all that a job ever told.
        Index("ix_job_events_scored", "job_number", "step", sqlite_where=text(SCORED), postgresql_where=text(SCORED)),
        Index("ix_job_events_rare", "job_number", "seq", sqlite_where=text(RARE), postgresql_where=text(RARE)),
    )

    job_number: Mapped[int] = mapped_column(ForeignKey("jobs.number", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    attempt: Mapped[int] = mapped_column(Integer)
    time: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(32))
    step: Mapped[int] = mapped_column(BigInteger)
    images: Mapped[int] = mapped_column(BigInteger)
    data: Mapped[dict[str, Any]]


class JobLabel(Base):
    """One label of a run's spec, where lists look for it."""

    __tablename__ = "job_labels"
    __table_args__ = (Index("ix_job_labels_list", "kind", "name", "value", "job_number"),)

    job_number: Mapped[int] = mapped_column(ForeignKey("jobs.number", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(16))
    """The run's: what is asked for lies together."""


class JobScore(Base):
    """A job's newest score of a name, or that of a search's best trial, where lists look for it."""

    __tablename__ = "job_scores"
    __table_args__ = (Index("ix_job_scores_list", "kind", "name", "job_number", "value"),)

    job_number: Mapped[int] = mapped_column(ForeignKey("jobs.number", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[float] = mapped_column(Double)
    kind: Mapped[str] = mapped_column(String(16))


class Trial(Base):
    """One trial of a search, as its events tell."""

    __tablename__ = "trials"
    __table_args__ = (Index("ix_trials_score", "job_number", "score"),)

    job_number: Mapped[int] = mapped_column(ForeignKey("jobs.number", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    id: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    score: Mapped[float | None] = mapped_column(Double)
    """What trials are ranked by; None without one, and for a trial that diverged or failed."""
    images: Mapped[int] = mapped_column(BigInteger)
    record: Mapped[dict[str, Any]]
    """The TrialRecord."""
    stop: Mapped[bool] = mapped_column(default=False)
    """Someone asked it to end."""


class JobChange(Base):
    """One change of a job's state, for the event stream and for whoever asks later what happened."""

    __tablename__ = "job_changes"
    __table_args__ = (Index("ix_job_changes_job", "job_number", "id"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    job_number: Mapped[int] = mapped_column(ForeignKey("jobs.number", ondelete="CASCADE"))
    time: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(Integer)
    reason: Mapped[str] = mapped_column(Text)


class Deletion(Base):
    """A run that was deleted, as long as something of it is left elsewhere: its folder, its records in MLflow."""

    __tablename__ = "deletions"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    """The run's."""
    kind: Mapped[str] = mapped_column(String(16))
    owner: Mapped[str] = mapped_column(String(64))
    mlflow_run_id: Mapped[str | None] = mapped_column(String(64))
    """Whose records in MLflow go, too; null: they stay, or there are none."""
    created_at: Mapped[datetime]
