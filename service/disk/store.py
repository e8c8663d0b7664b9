"""All SQL of the collection."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from service.bodies.states import State
from service.db.tables import Deletion, Job

ENDED = tuple(state.value for state in State if state.ended)


def at_rest(session: Session, after: int, limit: int) -> Sequence[Job]:
    """Runs that have ended and whose drivers are gone, in the order in which they came, behind number `after`."""
    ended = select(Job).where(Job.number > after, Job.state.in_(ENDED), ~Job.watched)
    return session.scalars(ended.order_by(Job.number).limit(limit)).all()


def leaving(session: Session) -> int:
    """How many runs have ended whose drivers aren't gone."""
    watched = text("watched")  # as the index has it
    return session.scalar(select(func.count()).select_from(Job).where(watched, Job.state.in_(ENDED))) or 0


def locked(session: Session, number: int) -> Job | None:
    """That run, if it is still there; nobody else changes it until the transaction ends."""
    return session.scalar(select(Job).where(Job.number == number).with_for_update())


def known(session: Session, ids: Collection[str]) -> set[str]:
    """Those of them that are runs."""
    return set(session.scalars(select(Job.id).where(Job.id.in_(ids))))


def deletions(session: Session, limit: int) -> Sequence[Deletion]:
    """Runs that were deleted and of which something may be left, the earliest first."""
    return session.scalars(select(Deletion).order_by(Deletion.created_at, Deletion.id).limit(limit)).all()
