"""All tables: those of runs and of people, and the others here."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.db.audit import AuditRecord
from service.db.base import AT_ONCE, Base, BigId
from service.db.people import BrowserSession, DeletedUsage, OwnerCaps, OwnerHours, Person, Token
from service.db.runs import (
    LEAVING,
    LIMITED,
    RARE,
    SCORED,
    WAITING,
    YIELDING,
    Deletion,
    Job,
    JobChange,
    JobEvent,
    JobLabel,
    JobScore,
    Trial,
)
from service.db.serving import ServedApplication
from service.db.tape import TapeEntry
from service.db.webhooks import Webhook, WebhookDelivery

__all__ = [
    "AT_ONCE",
    "LEAVING",
    "LIMITED",
    "RARE",
    "SCORED",
    "WAITING",
    "YIELDING",
    "AuditRecord",
    "Base",
    "BigId",
    "BrowserSession",
    "Dataset",
    "DeletedUsage",
    "Deletion",
    "Job",
    "JobChange",
    "JobEvent",
    "JobLabel",
    "JobScore",
    "KeptAnswer",
    "Lock",
    "OwnerCaps",
    "OwnerHours",
    "Person",
    "ServedApplication",
    "Sight",
    "TapeEntry",
    "Token",
    "Trial",
    "Webhook",
    "WebhookDelivery",
]


class Sight(Base):
    """What was last seen of something outside, by whoever looked: `cluster`, while anyone waits for it."""

    __tablename__ = "sights"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    content: Mapped[dict[str, Any]]
    """{nodes: [[id, CPUs, of these free, GPUs, of these free]]}, or {reason}: why nothing is known, and {size}: CPUs and GPUs before."""
    seen_at: Mapped[datetime]


class Dataset(Base):
    """A dataset by name."""

    __tablename__ = "datasets"

    number: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    owner: Mapped[str] = mapped_column(String(64), default="", server_default="")
    """Who registered it; "": nobody knows."""
    url: Mapped[str] = mapped_column(Text)
    manifest: Mapped[dict[str, Any]]
    check_report: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]


class KeptAnswer(Base):
    """A request with an `Idempotency-Key`: claimed while it is done, then its answer (`service.repeats`)."""

    __tablename__ = "kept_answers"
    __table_args__ = (Index("ix_kept_answers_owner", "owner", "at", "size"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of whose key it is, of method, path and key."""
    request: Mapped[str] = mapped_column(String(64))
    """SHA-256 of query and body."""
    claim: Mapped[str] = mapped_column(String(32))
    """Random: whose it is to answer."""
    at: Mapped[datetime] = mapped_column(index=True)
    """When it was answered; before that, when whoever does it last said so."""
    status: Mapped[int | None] = mapped_column(Integer)
    """None: it is being done."""
    headers: Mapped[dict[str, Any] | None]
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    owner: Mapped[str] = mapped_column(String(64), default="", server_default="")
    """Whose key it is."""
    size: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """Bytes of the body."""


class Lock(Base):
    """A row that a transaction updates to take its turn; `admission` is the queue's, `tape` and `audit`
    are those of whoever gives places there. `numbers` counts what deleted runs had."""

    __tablename__ = "locks"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    turns: Mapped[int] = mapped_column(BigInteger, default=0)
