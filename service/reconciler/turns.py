"""The turn of the queue: who decides of it takes one, and what was decided by an older one is void."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.db.tables import Lock

ADMISSION = "admission"


def count(session: Session) -> int:
    """How many were taken."""
    return session.scalar(select(Lock.turns).where(Lock.name == ADMISSION)) or 0


def take(session: Session, turns: int) -> bool:
    """Whether nobody has taken one since so many were counted; until this transaction ends nobody else does."""
    turn = update(Lock).where(Lock.name == ADMISSION, Lock.turns == turns).values(turns=turns + 1)
    return session.execute(turn.returning(Lock.turns)).first() is not None
