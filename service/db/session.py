"""Engine and sessions. Sync SQLAlchemy: endpoints run in FastAPI's thread pool, the reconciler in its own thread.

Sync, because the work is short indexed statements, both drivers at hand are sync, and code without `await` between read and
write is easier to check. The one thing that must not hold a thread per client, the event stream, shares one poller
(`service.runs.stream`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Protocol

from sqlalchemy import (
    Connection,
    Engine,
    FromClause,
    Select,
    create_engine,
    event,
    func,
    literal,
    make_url,
    select,
    true,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.exc import TimeoutError as BusyError
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

BUSY_SECONDS = 15
IDLE_SECONDS = 1.0
"""A connection that was used since needn't be tried."""
FREE_SINCE = "free_since"
"""In a pooled connection's `info`."""
MADE = "made"
"""In `Session.info`."""


class Witness(Protocol):
    """Sees the transactions of a request."""

    def commits(self, session: Session) -> None:
        """One is about to end well: what is added now goes with it. `all_made` says what it made."""
        ...

    def committed(self) -> None:
        """It has."""
        ...


WITNESS: ContextVar[Witness | None] = ContextVar("witness", default=None)
"""Of the request that is served."""


class Turn:
    """Writers of one process take turns, instead of polling for the file's lock with ever longer pauses, as SQLite does.

    Those of other processes don't know of it: against them the file's lock holds, as ever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        """Raises TimeoutError of SQLAlchemy."""
        if not self._lock.acquire(timeout=BUSY_SECONDS):
            raise BusyError(f"others of this process have been writing for {BUSY_SECONDS} s")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Database:
    """An engine and its sessions. Thread-safe; one per process."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        options: dict[str, Any] = {
            "pool_size": 10,
            "max_overflow": 40,
            "pool_timeout": BUSY_SECONDS,
        }  # as many as the thread pool has threads
        if self.is_sqlite:
            options["connect_args"] = {"timeout": BUSY_SECONDS}
        self.engine: Engine = create_engine(parsed, **options)
        if self.is_sqlite:
            event.listen(self.engine, "connect", _sqlite_pragmas)
            event.listen(self.engine, "begin", _sqlite_begin)
        else:  # a file is never away
            _try_idle(self.engine)
        self._turn: AbstractContextManager[None] = Turn() if self.is_sqlite else nullcontext()
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        self._readers = sessionmaker(self.engine.execution_options(agon_read=True), expire_on_commit=False)
        alone: dict[str, Any] = {"agon_alone": True} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        self._alone = self.engine.execution_options(**alone)
        event.listen(self._sessions, "pending_to_persistent", made)

    @contextmanager
    def begin(self, *, unseen: bool = False) -> Iterator[Session]:
        """A transaction that may write: committed at the end, rolled back by an exception.

        unseen: it is no part of what the request is to change, so `WITNESS` isn't told of it.
        """
        witness = None if unseen else WITNESS.get()
        with self._sessions() as session:
            with self._turn, session.begin():
                if witness is not None:
                    session.info[MADE] = []
                yield session
                if witness is not None:
                    witness.commits(session)
            if witness is not None:
                witness.committed()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads."""
        with self._readers() as session, session.begin():
            yield session

    @contextmanager
    def look(self) -> Iterator[Connection]:
        """For one statement that only reads: a transaction of several would cost more than that does."""
        with self._alone.connect() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def made(session: Session, row: object) -> None:
    """Say that the transaction makes this. The session does so itself of what is added to it."""
    if MADE in session.info:
        session.info[MADE].append(row)


def all_made(session: Session) -> Sequence[object]:
    """What the transaction made, if anyone is to see it."""
    found: Sequence[object] = session.info.get(MADE, ())
    return found


def beside(*parts: Any) -> Select[Any]:
    """One statement in place of several that find at most one row each: all their columns, in one row; nulls for what finds none."""
    found: list[FromClause] = [part.subquery() for part in parts]
    joined: FromClause = select(literal(0)).subquery()
    for part in found:
        joined = joined.outerjoin(part, true())
    return select(*(column for part in found for column in part.c)).select_from(joined)


def insert_into(session: Session, table: type[DeclarativeBase]) -> Any:
    """An INSERT of the database's own kind, for what both can: `on_conflict_do_nothing`, `on_conflict_do_update`."""
    return insert_of(session)(table)


def insert_of(session: Session) -> Callable[[type[DeclarativeBase]], Any]:
    """What makes such a statement: one function for each kind of database."""
    return postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert


def take_turn(session: Session, name: str) -> None:
    """Wait for other transactions that took their turn by that name; the next has to wait until this one ends.

    For what is counted before one more is added. SQLite's writers take turns anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def _try_idle(engine: Engine) -> None:
    """Try a connection that was idle for a while before it is used: the server may have gone since, and have come again.

    SQLAlchemy's own `pool_pre_ping` tries it each time: a round trip for every transaction.
    """

    def rests(_connection: Any, record: ConnectionPoolEntry | None) -> None:
        if record is not None:
            record.info[FREE_SINCE] = time.monotonic()

    def is_used(connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
        since = record.info.get(FREE_SINCE)
        if since is None or time.monotonic() - since < IDLE_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error  # of all that are as old; the pool makes another

    event.listen(engine, "checkin", rests)
    event.listen(engine, "checkout", is_used)


def _sqlite_pragmas(connection: Any, _record: Any) -> None:
    """WAL lets readers and the one writer work at once; FULL keeps an acknowledged job through a power cut."""
    connection.isolation_level = None  # we emit BEGIN ourselves, below
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_SECONDS * 1000}"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begin(connection: Any) -> None:
    """Writers take the lock at once: a read that turns into a write later fails instead of waiting."""
    options = connection.get_execution_options()
    if not options.get("agon_alone", False):
        connection.exec_driver_sql("BEGIN" if options.get("agon_read", False) else "BEGIN IMMEDIATE")
