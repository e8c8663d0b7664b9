"""Who descends from whom. A run that is deleted stays an ancestor, by its id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service import paging
from service.bodies.forks import Lineage, Relative
from service.db.tables import Job
from service.runs.kinds import KINDS, Kind
from service.runs.store import get

MOST = 100
"""Ancestors that are told."""


def of(session: Session, run_id: str, kind: Kind, *, limit: int, cursor: str | None) -> Lineage:
    """Where the run comes from, and a page of what went on with it. Raises NotFound, Invalid."""
    run = get(session, run_id, kind)
    children, following = _children(session, run, limit, cursor)
    return Lineage(
        ancestors=tuple(_ancestors(session, run)), children=tuple(map(relative, children)), next_cursor=following
    )


def relative(row: Job) -> Relative:
    """As the API answers."""
    return Relative(**{name: getattr(row, name) for name in Relative.model_fields})


def _ancestors(session: Session, run: Job) -> list[Relative]:
    """Nearest first."""
    found: list[Relative] = []
    parent = run.parent
    while parent is not None and len(found) < MOST:
        row = session.scalar(select(Job).where(Job.id == parent))
        found.append(relative(row) if row is not None else _deleted(parent))
        parent = row.parent if row is not None else None
    return found


def _deleted(run_id: str) -> Relative:
    kind: Any = next((kind.name for kind in KINDS.values() if run_id.startswith(f"{kind.prefix}-")), "job")
    return Relative(id=run_id, kind=kind)


def _children(session: Session, run: Job, limit: int, cursor: str | None) -> tuple[Sequence[Job], str | None]:
    """Newest first."""
    statement = select(Job).where(Job.parent == run.id).order_by(Job.number.desc()).limit(limit + 1)
    before = paging.decode(cursor)
    rows = session.scalars(statement if before is None else statement.where(Job.number < before)).all()
    return rows[:limit], paging.encode(rows[limit - 1].number) if len(rows) > limit else None
