"""Tables of webhooks: who is told of what, where, and each message on its way there (`service.webhooks`)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    text,
    true,
)  # fmt: skip
from sqlalchemy.orm import Mapped, mapped_column

from service.db.base import Base, BigId

PENDING = "outcome = 'pending'"


class Webhook(Base):
    """Where somebody wants to be told."""

    __tablename__ = "webhooks"

    number: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    owner: Mapped[str] = mapped_column(String(64), index=True)
    url: Mapped[str] = mapped_column(Text)
    events: Mapped[list[str]] = mapped_column(JSON)
    """Types, and patterns of them."""
    runs_of: Mapped[str] = mapped_column(String(64))
    """The person of whose runs it hears; `*`: everybody's."""
    labels: Mapped[dict[str, Any]]
    """It hears of runs that have all of them."""
    description: Mapped[str] = mapped_column(Text, default="")
    secret: Mapped[str] = mapped_column(Text)
    """As it was shown: a signature can't be made from less."""
    old_secrets: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    """Those that sign, too, newest first: {secret, until}, seconds of Unix time."""
    enabled: Mapped[bool] = mapped_column(default=True, server_default=true())
    reason: Mapped[str] = mapped_column(Text, default="")
    """Why it is switched off, if nobody did it."""
    place: Mapped[int] = mapped_column(BigInteger, default=0)
    """Of the tape: what stands up to there has become deliveries, as far as it is wanted."""
    failing_since: Mapped[datetime | None]
    """The first attempt that failed since one succeeded."""
    quiet_until: Mapped[datetime | None]
    """It asked to be left alone until then."""
    created_at: Mapped[datetime]


class WebhookDelivery(Base):
    """One message for one webhook."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("webhook_number", "id", name="uq_webhook_deliveries_id"),
        Index(
            "ix_webhook_deliveries_due",
            "webhook_number",
            "due_at",
            sqlite_where=text(PENDING),
            postgresql_where=text(PENDING),
        ),
        Index("ix_webhook_deliveries_list", "webhook_number", "outcome", "number"),
    )

    number: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    webhook_number: Mapped[int] = mapped_column(ForeignKey("webhooks.number", ondelete="CASCADE"))
    id: Mapped[str] = mapped_column(String(80))
    """The `webhook-id`: of what happened, so it is made from that."""
    type: Mapped[str] = mapped_column(String(40))
    run: Mapped[str] = mapped_column(String(40))
    """Its id; empty: of no run."""
    told_at: Mapped[datetime]
    """When it happened."""
    body: Mapped[str] = mapped_column(Text)
    """As it is sent, each time."""
    outcome: Mapped[str] = mapped_column(String(16), default="pending")
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    """That were made since it was made, or replayed."""
    due_at: Mapped[datetime | None]
    """When it is sent next; of one that is being sent: when whoever sends it has gone. None: it isn't."""
    fence: Mapped[int] = mapped_column(BigInteger, default=0)
    """Counts who took it to send it; a result needs the number of its own."""
    status: Mapped[int | None] = mapped_column(Integer)
    """Of the last answer; None: there was none."""
    error: Mapped[str] = mapped_column(Text, default="")
    """Why the last attempt failed."""
    sent_at: Mapped[datetime | None]
    """When the last attempt ended."""
    ended_at: Mapped[datetime | None] = mapped_column(index=True)
    """Since when it isn't pending."""
