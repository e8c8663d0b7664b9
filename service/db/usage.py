"""What of a run's row its limits and its accounting go by."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Double, Integer, String
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


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


class UsageColumns:
    """Part of `jobs`. Times on the cluster are counted by the reconciler, under its lease; whoever moves the row counts its waits."""

    queued_at: Mapped[datetime | None]
    """Since when it waits in the queue; None: it doesn't."""
    queue_seconds: Mapped[float] = mapped_column(Double, default=0.0, server_default="0")
    """In the queue, of waits that are over."""
    run_seconds: Mapped[float] = mapped_column(Double, default=0.0, server_default="0")
    """On the cluster, of all attempts: from when Ray took a driver until it is gone, without waits for what it needs."""
    cpu_seconds: Mapped[float] = mapped_column(Double, default=0.0, server_default="0")
    """CPUs of its workers times seconds on the cluster."""
    accelerator_seconds: Mapped[float] = mapped_column(Double, default=0.0, server_default="0")
    """GPUs of its workers times seconds on the cluster."""
    planned_cpu_seconds: Mapped[float | None] = mapped_column(Double)
    """What it will have used in the end, as far as that was known when it was submitted or edited (`service.runs.planned`)."""
    planned_accelerator_seconds: Mapped[float | None] = mapped_column(Double)
    planned_by: Mapped[str] = mapped_column(String(8), default="", server_default="")
    """What that rests on: plan, runs or limit."""
    counted_at: Mapped[datetime | None]
    """Up to when these are counted; None: it isn't on the cluster."""
    training_workers: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """Workers that train now, as the job said when its training began; 0: it has not said so."""

    limit_at: Mapped[datetime | None]
    """Of a run that waits or is paused: when one of its limits has to be looked at; None: never."""
    warned: Mapped[str] = mapped_column(String(64), default="", server_default="")
    """Limits that it was warned of, with commas."""
    spent: Mapped[dict[str, Any] | None]
    """The limit that ends it, or has: {limit, reason}."""
