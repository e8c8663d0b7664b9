"""Table of who changed what, or was refused (`service.audit`)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column

from service.db.base import Base, BigId

UNPLACED = "place IS NULL AND status IS NOT NULL"


class AuditRecord(Base):
    """One change, or refusals of one that are alike."""

    __tablename__ = "audit"
    __table_args__ = (
        Index("ix_audit_owner", "owner", "id"),
        Index("ix_audit_action", "action", "id"),
        Index("ix_audit_target", "target", "id"),
        Index("ix_audit_time", "time"),
        Index("ix_audit_place", "place", unique=True),
        Index("ix_audit_unplaced", "id", sqlite_where=text(UNPLACED), postgresql_where=text(UNPLACED)),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    place: Mapped[int | None] = mapped_column(BigInteger)
    """Where whoever follows hears of it (`service.db.placing`)."""
    time: Mapped[datetime]
    owner: Mapped[str] = mapped_column(String(64))
    """The person; empty: nobody knows who it was."""
    token: Mapped[str] = mapped_column(String(40))
    """Id of the token, or what stood in its place."""
    token_name: Mapped[str] = mapped_column(String(64))
    role: Mapped[str] = mapped_column(String(16))
    request_id: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(40))
    kind: Mapped[str] = mapped_column(String(16))
    """Of the target."""
    target: Mapped[str] = mapped_column(String(160))
    status: Mapped[int | None] = mapped_column(Integer)
    """Of the answer; None: it was begun, and the process ended before it was answered."""
    peer: Mapped[str] = mapped_column(String(64))
    count: Mapped[int] = mapped_column(Integer)
    """Refusals that are alike, within a minute."""
    detail: Mapped[dict[str, Any] | None]
