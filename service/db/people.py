"""Tables of people: their tokens, what they may have, and what they have used."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    Double,
    Integer,
    String,
)  # fmt: skip
from sqlalchemy.orm import Mapped, mapped_column

from service.db.base import Base


class Token(Base):
    """A bearer token, by the SHA-256 of its 256 random bits."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    owner: Mapped[str] = mapped_column(String(64), default="", server_default="")
    """The person whose it is; several tokens may be one's. Of a job's own token: nobody's."""
    scope: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    job_id: Mapped[str | None] = mapped_column(String(40), index=True)
    """The one job that a token of scope `job` may report for."""
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    """The attempt that the token was given to; when a newer one runs, its reports no longer count."""
    created_at: Mapped[datetime]


class OwnerCaps(Base):
    """What an owner may have at once; null: as much as there is."""

    __tablename__ = "owner_caps"

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    """A person; `*`: all who have no row of their own."""
    running: Mapped[int | None] = mapped_column(Integer)
    workers: Mapped[int | None] = mapped_column(Integer)
    gpus: Mapped[int | None] = mapped_column(Integer)
    gpu_hours_week: Mapped[float | None] = mapped_column(Double)
    waiting: Mapped[int | None] = mapped_column(Integer)
    changed_at: Mapped[datetime]


class OwnerHours(Base):
    """What an owner's runs, those that were deleted since, used in one hour (`service.runs.hours`)."""

    __tablename__ = "owner_hours"

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    hour: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    """Hours of Unix time."""
    cpu_seconds: Mapped[float] = mapped_column(Double)
    accelerator_seconds: Mapped[float] = mapped_column(Double)


class DeletedUsage(Base):
    """What runs had used that were deleted, by owner, kind and family."""

    __tablename__ = "deleted_usage"

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    family: Mapped[str] = mapped_column(String(64), primary_key=True)
    runs: Mapped[int] = mapped_column(Integer)
    queue_seconds: Mapped[float] = mapped_column(Double)
    run_seconds: Mapped[float] = mapped_column(Double)
    cpu_seconds: Mapped[float] = mapped_column(Double)
    accelerator_seconds: Mapped[float] = mapped_column(Double)
    planned_runs: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """Of so many of them it was known what they would use."""
    planned_cpu_seconds: Mapped[float] = mapped_column(Double, default=0.0, server_default="0")
    planned_accelerator_seconds: Mapped[float] = mapped_column(Double, default=0.0, server_default="0")
