"""The time as the database's server has it, which processes on several machines share."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.db.session import Database


def database_time(db: Database) -> datetime:
    """Now; SQLite's is this machine's."""
    if db.is_sqlite:
        return datetime.now(UTC)
    with db.read() as session:
        return time_in(session)


def time_in(session: Session) -> datetime:
    """The same, in a transaction that there is."""
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    found: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return found.astimezone(UTC)
