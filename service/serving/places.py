"""What the rows say of who answers. A question is what gets an application a place: it is written that it was asked, now and then, and
the reconciler is woken. All who wait look at one reading, some times a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from starlette.concurrency import run_in_threadpool

from service.db.session import Database
from service.db.times import time_in
from service.runs import served
from service.runs.served import Place

FRESH_SECONDS = 0.25
"""So long what was read serves whoever asks."""
TOUCH_SECONDS = 5.0
"""So often it is written that an application is asked; more often where it is idle soon."""


class Places:
    """One per application of ours. All methods belong to the event loop. `ring` wakes the reconciler."""

    def __init__(self, db: Database, ring: Callable[[], None], idle_seconds: float) -> None:
        self._db, self._ring = db, ring
        self._every = min(TOUCH_SECONDS, idle_seconds / 3)
        self._read: dict[str, Place] = {}
        self._at = -FRESH_SECONDS
        self._touched: dict[str, float] = {}
        self._turn = asyncio.Lock()

    async def asked(self, name: str) -> Place:
        """Its place, or what keeps it from having one. That it is asked is written."""
        async with self._turn:
            now = asyncio.get_running_loop().time()
            place = self._read.get(name)
            if now - self._touched.get(name, -self._every) >= self._every:
                place = await run_in_threadpool(self._touch, name)
                self._touched[name] = now
                self._read[name] = place
                if not place.held:
                    self._ring()
            elif place is None or now - self._at >= FRESH_SECONDS:
                for found in await run_in_threadpool(self.all):
                    self._read[found.name] = found
                self._at = now
            return self._read.get(name) or Place(name)

    def forget(self, name: str) -> None:
        """What was read is not so any more."""
        self._at = -FRESH_SECONDS
        self._touched.pop(name, None)

    def all(self) -> list[Place]:
        """Each that there can be; in a thread."""
        with self._db.read() as session:
            found = {place.name: place for place in served.places(session)}
        return [found.get(name) or Place(name) for name in served.NAMES]

    def now(self) -> datetime:
        """The time that they go by; in a thread."""
        with self._db.read() as session:
            return time_in(session)

    def _touch(self, name: str) -> Place:
        with self._db.begin(unseen=True) as session:
            return served.touch(session, name, time_in(session))
