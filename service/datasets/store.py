"""All SQL on datasets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service import paging
from service.db.session import Database
from service.db.tables import Dataset
from service.errors import Conflict, NotFound


def create(db: Database, name: str, url: str, manifest: dict[str, Any], owner: str = "") -> Dataset:
    """Register a dataset; the same name, URL and digest again is the same dataset. Raises Conflict."""
    try:
        with db.begin() as session:
            row = Dataset(name=name, owner=owner, url=url, manifest=manifest, created_at=datetime.now(UTC))
            session.add(row)
        return row
    except IntegrityError:
        known = find(db, name)
        if known is None:
            raise
        if (known.url, known.manifest["digest"]) != (url, manifest["digest"]):
            raise Conflict(
                f"dataset {name!r} is registered with {known.url!r}; delete it first, or use another name"
            ) from None
        return known


def find(db: Database, name: str) -> Dataset | None:
    """By name."""
    with db.read() as session:
        return session.scalar(select(Dataset).where(Dataset.name == name))


def get(db: Database, name: str) -> Dataset:
    """By name. Raises NotFound."""
    row = find(db, name)
    if row is None:
        raise NotFound(f"no dataset {name!r}; GET /v1/datasets lists them")
    return row


def page(session: Session, limit: int, cursor: str | None) -> tuple[Sequence[Dataset], str | None]:
    """Newest first."""
    statement = select(Dataset).order_by(Dataset.number.desc()).limit(limit + 1)
    if (before := paging.decode(cursor)) is not None:
        statement = statement.where(Dataset.number < before)
    rows = session.scalars(statement).all()
    return rows[:limit], paging.encode(rows[limit - 1].number) if len(rows) > limit else None


def save_check(db: Database, name: str, report: dict[str, Any]) -> None:
    """Keep the newest check beside the dataset."""
    with db.begin() as session:
        row = session.scalar(select(Dataset).where(Dataset.name == name).with_for_update())
        if row is not None:
            row.check_report = report


def remove(db: Database, name: str) -> None:
    """Forget it; its files stay. Raises NotFound."""
    with db.begin() as session:
        gone = session.scalar(delete(Dataset).where(Dataset.name == name).returning(Dataset.number))
    if gone is None:
        raise NotFound(f"no dataset {name!r}; GET /v1/datasets lists them")
