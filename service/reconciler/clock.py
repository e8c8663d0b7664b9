"""The time that leases and pauses are counted in: it goes on evenly, whoever sets the machine's clock meanwhile.

It begins at the database's time, which reconcilers on several machines share, and from then on counts this process's monotonic clock.
So no step of a clock reaches a process that runs. One that starts after a step has another time than those before it;
so no time in the database is believed that lies further ahead than anyone writes one (`service.reconciler.store`).

What people read (when a job began, when it ended) is the machine's own time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.db.session import Database


def database_time(db: Database) -> datetime:
    """Now, as the database's server has it; SQLite's is this machine."""
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


class SteadyClock:
    """Callable: the time in UTC, which never jumps and never goes back. Thread-safe."""

    def __init__(self, began: datetime, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._began, self._elapsed, self._zero = began, elapsed, elapsed()

    def __call__(self) -> datetime:
        """Now."""
        return self._began + timedelta(seconds=self._elapsed() - self._zero)
