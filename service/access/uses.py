"""When a token was last used. No request waits for that to be written: it is noted here, and a task writes it some seconds later,
at most once a minute a token, however many processes there are."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

from sqlalchemy import or_, update
from starlette.concurrency import run_in_threadpool

from service.db.session import Database
from service.db.tables import Token

RARELY = timedelta(minutes=1)
EVERY_SECONDS = 5.0
MOST = 10_000
"""Tokens that are noted between two writes; what is beyond that is noted later."""
logger = logging.getLogger("agon.access.uses")


class Uses:
    """One per application. What a process that dies had not written yet is lost: a minute of it at most."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._noted: dict[str, datetime] = {}

    def note(self, token_id: str, used_at: datetime | None) -> None:
        """From any thread: it is used now, and `used_at` is what the row says."""
        now = datetime.now(UTC)
        if (used_at is None or not used_at <= now < used_at + RARELY) and len(self._noted) < MOST:
            self._noted[token_id] = now

    async def run(self) -> None:
        """Write for as long as the application lives."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            if self._noted:
                try:
                    await run_in_threadpool(self.write)
                except Exception:
                    logger.warning("when tokens were last used could not be written", exc_info=True)

    def write(self) -> None:
        """Write what was noted, but where another process has."""
        noted, self._noted = self._noted, {}
        with self._db.begin(unseen=True) as session:
            for token_id, when in sorted(
                noted.items()
            ):  # in one order: two processes don't wait for each other in a circle
                stale = or_(Token.used_at.is_(None), Token.used_at <= when - RARELY, Token.used_at > when + RARELY)
                session.execute(update(Token).where(Token.id == token_id, stale).values(used_at=when))
