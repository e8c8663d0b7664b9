"""Records as they are answered."""

from __future__ import annotations

from service.audit.store import Outcome
from service.bodies.audit import AuditEntry
from service.db.tables import AuditRecord


def entry(row: AuditRecord) -> AuditEntry:
    """One record."""
    return AuditEntry(
        id=row.id,
        time=row.time,
        owner=row.owner,
        token=row.token,
        token_name=row.token_name,
        role=row.role,
        request_id=row.request_id,
        action=row.action,
        kind=row.kind,
        target=row.target,
        outcome=Outcome.of(row.status),
        status=row.status,
        peer=row.peer,
        count=row.count,
        detail=row.detail or {},
    )
