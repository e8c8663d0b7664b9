"""The numbers of runs: none is given twice. Whoever follows a run, or has its lease, knows it by its number, also when it is deleted."""

from __future__ import annotations

from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from service.db.session import insert_into
from service.db.tables import Lock

GIVEN = "numbers"
"""Its turns: the highest number of a run that was deleted."""
DELETED = select(Lock.turns).where(Lock.name == GIVEN)


def following(connection: Connection, newest: int | None, deleted: int | None) -> int | None:
    """For the next run; None: the database has a sequence. Without one, SQLite gives the newest run's number again once it is deleted.

    newest: the highest number that a run has. deleted: what `DELETED` finds.
    """
    return None if connection.dialect.name != "sqlite" else max(newest or 0, deleted or 0) + 1


def keep(session: Session, number: int) -> None:
    """Of a run that is deleted."""
    insert = insert_into(session, Lock).values(name=GIVEN, turns=number)
    higher = insert.on_conflict_do_update(index_elements=[Lock.name], set_={"turns": number}, where=Lock.turns < number)
    session.execute(higher)
