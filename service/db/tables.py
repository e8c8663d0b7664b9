"""All tables. Times are UTC; JSON columns hold what the API returns, so that it needs no second shape.

Who writes what in `jobs`, so that no two writers fight over a column: the API writes `desired`; event ingestion writes what the
job reports (`acked` … `outcome`); the reconciler, under its lease, writes `state` and all that follows from it. What is paused or has
ended has no lease: the API itself puts it back into the queue. Ingestion and the API bump `revision` when they change something that
the reconciler decides by. In `trials`, ingestion writes all but `stop`, which the API does; both hold the lock of the search's row.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
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
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

BigId = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up INTEGER PRIMARY KEY alone


WAITING = "state IN ('submitted', 'queued')"
LEAVING = "state || '' IN ('submitted', 'queued') AND desired <> 'run'"
"""As an expression: SQLite, which keeps no statistics, would take the index of the whole queue for as good as this one's."""
AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)
"""As `due_at`: now, whatever anyone's clock says."""


class Utc(TypeDecorator[datetime]):
    """A time with its zone on every database; SQLite stores none."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC; refuses a time without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Base of the tables."""

    type_annotation_map = {datetime: Utc, dict[str, Any]: JSON(none_as_null=True)}  # noqa: RUF012 — SQLAlchemy's protocol


class Job(Base):
    """One run: a training or, by `kind`, a search (`service.jobs.kinds`)."""

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
        # All that the queue decides by, without the rows themselves, whose specs are long.
        Index(
            "ix_jobs_queue",
            *("state", "number", "desired", "due_at", "workers", "worker_cpus", "worker_gpus", "attempt"),
            sqlite_where=text(WAITING),
            postgresql_where=text(WAITING),
        ),
        Index("ix_jobs_leaving", "number", sqlite_where=text(LEAVING), postgresql_where=text(LEAVING)),
        Index("ix_jobs_watched", "due_at", sqlite_where=text("watched"), postgresql_where=text("watched")),
    )

    number: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    """Order of arrival: what lists and the queue sort by."""
    id: Mapped[str] = mapped_column(String(40), unique=True)
    kind: Mapped[str] = mapped_column(String(16), default="job", server_default="job")
    name: Mapped[str] = mapped_column(String(64))
    family: Mapped[str] = mapped_column(String(64))
    spec: Mapped[dict[str, Any]]
    spec_digest: Mapped[str] = mapped_column(String(64))
    principal: Mapped[str] = mapped_column(String(64))
    """Id of the token that created it."""
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    request_digest: Mapped[str] = mapped_column(String(64))
    trial: Mapped[str | None] = mapped_column(String(64))
    """`s-0123456789ab/t-00003`: the trial that this job goes on with."""
    created_at: Mapped[datetime]

    workers: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """What it takes of the cluster, from its spec: so many workers with …"""
    worker_cpus: Mapped[float] = mapped_column(Double, default=0.0, server_default="0")
    worker_gpus: Mapped[float] = mapped_column(Double, default=0.0, server_default="0")

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

    job_number: Mapped[int] = mapped_column(ForeignKey("jobs.number", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    attempt: Mapped[int] = mapped_column(Integer)
    time: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(32))
    step: Mapped[int] = mapped_column(BigInteger)
    images: Mapped[int] = mapped_column(BigInteger)
    data: Mapped[dict[str, Any]]


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


class Token(Base):
    """A bearer token, by the SHA-256 of its 256 random bits."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    scope: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    job_id: Mapped[str | None] = mapped_column(String(40), index=True)
    """The one job that a token of scope `job` may report for."""
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    """The attempt that the token was given to; when a newer one runs, its reports no longer count."""
    created_at: Mapped[datetime]


class Dataset(Base):
    """A dataset by name."""

    __tablename__ = "datasets"

    number: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    url: Mapped[str] = mapped_column(Text)
    manifest: Mapped[dict[str, Any]]
    check_report: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]


class Lock(Base):
    """A row that a transaction updates to take its turn; `admission` is the queue's."""

    __tablename__ = "locks"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    turns: Mapped[int] = mapped_column(BigInteger, default=0)
