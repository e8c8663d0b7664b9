"""What is done for the audit beside requests: refusals are written, what is old is forgotten."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from starlette.concurrency import run_in_threadpool

from service.audit import store
from service.audit.witness import Watch
from service.db.session import Database

WRITE_SECONDS = 1.0
FORGET_SECONDS = 600.0
BATCHES = 20
"""At most so many at a time: a long past goes little by little."""
logger = logging.getLogger("agon.audit")


async def keep(watch: Watch, days: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
    """Look now and then, for ever. days: after so many records are forgotten; 0: never."""
    rounds = 0
    while True:
        await run_in_threadpool(watch.refusals.write)
        if rounds % int(FORGET_SECONDS / WRITE_SECONDS) == 0:
            try:
                await run_in_threadpool(forget_old, watch.db, days)
            except Exception:  # the database's trouble: the next look tries again
                logger.warning("old records can't be forgotten; trying again", exc_info=True)
        rounds += 1
        await sleep(WRITE_SECONDS)


def forget_old(db: Database, days: float, now: datetime | None = None) -> int:
    """Forget what is older, in small transactions; how many records went."""
    if not days:
        return 0
    before, gone = (now or datetime.now(UTC)) - timedelta(days=days), 0
    for _ in range(BATCHES):
        count = store.forget(db, before)
        gone += count
        if count < store.BATCH:
            break
    return gone
