"""The audit as it grows, for whoever follows it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from sqlalchemy.orm import Session
from sse_starlette import ServerSentEvent
from starlette.concurrency import run_in_threadpool

from service.access.live import Ticket
from service.audit import replies, store
from service.audit.store import Wanted
from service.db.session import Database
from service.runs.hub import Followed

ALL = "audit"
"""What is followed."""
PAGE = 100


class AuditHub(Followed[str, int]):
    """Of the audit: its last place."""

    def marks(self, session: Session, followed: Sequence[str]) -> dict[str, int]:
        """How far it has come."""
        return {ALL: store.end(session)}

    def _load(self, followed: Sequence[str], tickets: Sequence[Ticket]) -> tuple[dict[str, int], list[Ticket]]:
        store.place(self._db)
        return super()._load(followed, tickets)


async def follow(
    hub: AuditHub, db: Database, wanted: Wanted, after: int | None, ticket: Ticket
) -> AsyncIterator[ServerSentEvent]:
    """Records behind a place, or what comes, without an end; a message's id is its place.

    ticket: the follower's; the stream ends when it is over.
    """
    hub.enter(ALL, ticket)
    try:
        place = await run_in_threadpool(_end, db) if after is None else after
        yield ServerSentEvent(id=str(place))
        while not ticket.over:
            messages, place, more = await run_in_threadpool(_read, db, place, wanted)
            for message in messages:
                yield message
            if not more:
                await hub.changed(ALL, place, ticket)
    finally:
        hub.leave(ALL, ticket)


def _end(db: Database) -> int:
    store.place(db)
    with db.read() as session:
        return store.end(session)


def _read(db: Database, after: int, wanted: Wanted) -> tuple[list[ServerSentEvent], int, bool]:
    """The next messages, the place behind them, and whether there may be more already."""
    with db.read() as session:
        rows, place = store.behind(session, after, wanted, PAGE)
    messages = [
        ServerSentEvent(id=str(row.place), event="audit", data=replies.entry(row).model_dump_json()) for row in rows
    ]
    return messages, place, len(rows) == PAGE
