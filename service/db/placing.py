"""Places: the order in which rows of several writers are read, so that nobody who reads by it misses one.

Transactions end in another order than their rows' ids say: a reader that asks for `id > last` loses what is committed late. Such a row
is written without a place, and is given one when it is seen to be committed: one at a time, under the lock of a row, so places
become visible in their own order. A transaction that hangs holds nobody else up. Of rows whose writers take turns, by a lock that they
hold from before the row is written, the order is that in which they were written.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.orm import Session

from service.db.session import Database
from service.db.tables import Lock

MOST = 1000
"""Places that are given in one transaction."""


def place(db: Database, rows: Any, name: str, ready: ColumnElement[bool] | None = None) -> int:
    """Give places to rows that were committed since, `MOST` of them at most; how many were given. Cheap when there are none.

    rows: a table with `id` and `place`. ready: which of them are given one. name: of its row in `locks`, whose turns are the last place
    that was given.
    """
    unplaced = rows.place.is_(None) if ready is None else and_(rows.place.is_(None), ready)
    with db.read() as session:
        if session.scalar(select(rows.id).where(unplaced).limit(1)) is None:
            return 0
    with db.begin(unseen=True) as session:
        last = session.scalars(select(Lock.turns).where(Lock.name == name).with_for_update()).one()
        turn = func.row_number().over(order_by=rows.id).label("turn")
        found = select(rows.id, turn).where(unplaced).order_by(rows.id).limit(MOST).subquery()
        give = update(rows).where(rows.id == found.c.id).values(place=last + found.c.turn).returning(rows.place)
        given = session.scalars(give, execution_options={"synchronize_session": False}).all()
        if given:
            session.execute(update(Lock).where(Lock.name == name).values(turns=max(given)))
        return len(given)


def last(session: Session, name: str) -> int:
    """The last place that was given; 0: none was."""
    return session.scalar(select(Lock.turns).where(Lock.name == name)) or 0
