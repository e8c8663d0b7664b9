"""Tables of people: their roles, tokens and browser sessions, what they may have, and what they have used."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Double, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from service.db.base import Base


class Token(Base):
    """A bearer token, by the SHA-256 of its 256 random bits."""

    __tablename__ = "tokens"
    __table_args__ = (Index("ix_tokens_old", "old_digest", unique=True), Index("ix_tokens_owner", "owner"))

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
    expires_at: Mapped[datetime | None]
    """From then on it is refused; null: never."""
    used_at: Mapped[datetime | None]
    """When it was last used, to about a minute (`service.access.uses`). Of jobs' tokens it isn't kept."""
    rotated_at: Mapped[datetime | None]
    """When its secret was last replaced."""
    old_digest: Mapped[str | None] = mapped_column(String(64))
    """Of the secret that was replaced, which works on until then:"""
    old_until: Mapped[datetime | None]


class Person(Base):
    """Someone whose role an administrator has set, or whom a proxy has named."""

    __tablename__ = "people"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    role: Mapped[str | None] = mapped_column(String(16))
    """The most that anything of theirs may do. Null, nobody has set one: a token does what it says, who comes through a proxy reads."""
    changed_at: Mapped[datetime]


class BrowserSession(Base):
    """What a cookie stands for: a token's secret, for some hours. Whatever ends that secret ends the session."""

    __tablename__ = "sessions"
    __table_args__ = (Index("ix_sessions_expires", "expires_at"),)

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of the 256 random bits in the cookie."""
    token_digest: Mapped[str] = mapped_column(String(64))
    """Of the secret that it was begun with."""
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


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
