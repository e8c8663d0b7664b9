"""All SQL on the audit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, delete, insert, or_, select, update
from sqlalchemy.orm import Session

from service import paging
from service.db import placing
from service.db.session import Database
from service.db.tables import AuditRecord, Base

NAME = "audit"
"""Of the row in `locks`; its turns: the last place that was given."""
BATCH = 500
"""Records that are forgotten in one transaction."""


@dataclass(frozen=True)
class Record:
    """What is to be written; as `AuditRecord`."""

    time: datetime
    owner: str
    token: str
    token_name: str
    role: str
    request_id: str
    action: str
    kind: str
    target: str
    status: int | None
    peer: str
    detail: dict[str, Any] | None = None
    count: int = 1

    def alike(self) -> tuple[object, ...]:
        """Of refusals that are counted together."""
        return (self.owner, self.token, self.peer, self.action, self.target, self.status)

    def nobodys(self) -> Record:
        """As one of many."""
        return replace(
            self, owner="", token="", token_name="", role="", peer="", kind="", target="", detail=None, request_id=""
        )


class Outcome(StrEnum):
    """What became of a request."""

    DONE = "done"
    REFUSED = "refused"  # nothing changed
    FAILED = "failed"  # the server could not; what it began may be done
    BEGUN = "begun"  # the process ended before it was answered

    @classmethod
    def of(cls, status: int | None) -> Outcome:
        """By the answer's status."""
        if status is None:
            return cls.BEGUN
        return cls.DONE if status < 400 else cls.REFUSED if status < 500 else cls.FAILED

    def clause(self) -> ColumnElement[bool]:
        """The same for the database."""
        status = AuditRecord.status
        if self is Outcome.BEGUN:
            return status.is_(None)
        if self is Outcome.DONE:
            return status < 400
        return status >= 500 if self is Outcome.FAILED else status.between(400, 499)


@dataclass(frozen=True)
class Wanted:
    """What of it someone asks for."""

    owner: str | None = None
    token: str | None = None
    action: str | None = None
    """`job.pause`, or `job` for all of that kind."""
    target: str | None = None
    outcome: Outcome | None = None
    since: datetime | None = None
    until: datetime | None = None

    def clauses(self) -> Iterator[ColumnElement[bool]]:
        """For the database."""
        equal = ((AuditRecord.owner, self.owner), (AuditRecord.token, self.token), (AuditRecord.target, self.target))
        yield from (column == value for column, value in equal if value is not None)
        if self.action is not None and "." in self.action:
            yield AuditRecord.action == self.action
        elif self.action is not None:
            of_kind = AuditRecord.action.startswith(f"{self.action}.", autoescape=True)
            yield or_(AuditRecord.action == self.action, of_kind)
        if self.outcome is not None:
            yield self.outcome.clause()
        if self.since is not None:
            yield AuditRecord.time >= self.since
        if self.until is not None:
            yield AuditRecord.time < self.until


def write(session: Session, record: Record) -> int:
    """Add a record; its id."""
    return int(session.connection().execute(_WRITE, vars(record)).scalar_one())


_TABLE = Base.metadata.tables["audit"]
_WRITE = insert(_TABLE).returning(_TABLE.c.id)  # made once: every change executes it


def answered(db: Database, id_: int, status: int) -> None:
    """The request of that record was answered with another status than it says."""
    with db.begin(unseen=True) as session:
        session.execute(update(AuditRecord).where(AuditRecord.id == id_).values(status=status))


def forget_one(db: Database, id_: int) -> None:
    """What was written ahead of a change that was refused."""
    with db.begin(unseen=True) as session:
        session.execute(delete(AuditRecord).where(AuditRecord.id == id_))


def count(db: Database, records: Sequence[tuple[Record, int | None]]) -> list[int]:
    """Write refusals: a new row of each, or so many more in the row that it has by id; their ids."""
    found = []
    with db.begin(unseen=True) as session:
        for record, id_ in records:
            more = {"count": AuditRecord.count + record.count, "time": record.time, "request_id": record.request_id}
            add = update(AuditRecord).where(AuditRecord.id == id_).values(more).returning(AuditRecord.id)
            there = None if id_ is None else session.scalar(add)
            found.append(write(session, record) if there is None else there)
    return found


def page(
    session: Session, wanted: Wanted, *, limit: int, cursor: str | None
) -> tuple[Sequence[AuditRecord], str | None]:
    """Newest first. Raises Invalid."""
    before = paging.decode(cursor)
    statement = select(AuditRecord).where(*wanted.clauses()).order_by(AuditRecord.id.desc()).limit(limit + 1)
    if before is not None:
        statement = statement.where(AuditRecord.id < before)
    rows = session.scalars(statement).all()
    return rows[:limit], paging.encode(rows[limit - 1].id) if len(rows) > limit else None


def place(db: Database) -> int:
    """Give places to what was committed since, and is answered: how many. What was begun and never answered has none."""
    return placing.place(db, AuditRecord, NAME, AuditRecord.status.is_not(None))


def end(session: Session) -> int:
    """The last place."""
    return placing.last(session, NAME)


def behind(session: Session, after: int, wanted: Wanted, limit: int) -> tuple[Sequence[AuditRecord], int]:
    """Records behind a place in their order, and the place up to which they were read."""
    last = end(session)
    within = AuditRecord.place.between(after + 1, last)
    statement = select(AuditRecord).where(within, *wanted.clauses()).order_by(AuditRecord.place).limit(limit)
    rows = session.scalars(statement).all()
    return rows, rows[-1].place or last if len(rows) == limit else last


def forget(db: Database, before: datetime) -> int:
    """Forget records from before that time, `BATCH` of them at most, oldest first; how many."""
    old = select(AuditRecord.id).where(AuditRecord.time < before).order_by(AuditRecord.time).limit(BATCH)
    with db.begin(unseen=True) as session:
        gone = delete(AuditRecord).where(AuditRecord.id.in_(old)).returning(AuditRecord.id)
        return len(session.scalars(gone).all())
