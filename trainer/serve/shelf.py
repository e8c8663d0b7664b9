"""Things that take long to get, by name: all who wait for one wait for one attempt, and a failure is told for a moment only.

Knows neither torch nor Ray. Whoever stops waiting ends nothing: what is being got is there for the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")
REMEMBERED = 1.0
"""Seconds that a failure is told without another attempt."""


class Shelf(Generic[K, T]):
    """One per kind of thing, on one event loop. get: one attempt; whether it keeps what it got is its own affair."""

    def __init__(self, get: Callable[[K], Awaitable[T]], clock: Callable[[], float] = time.monotonic) -> None:
        self._get, self._clock = get, clock
        self._coming: dict[K, asyncio.Task[T]] = {}
        self._failed: dict[K, tuple[float, Exception]] = {}

    async def get(self, name: K) -> T:
        """The thing. Raises what the attempt raises."""
        task = self._coming.get(name)
        if task is None:
            self._tell(name)
            task = self._coming[name] = asyncio.create_task(self._attempt(name))
            task.add_done_callback(_heard)
        return await asyncio.shield(task)

    @property
    def coming(self) -> int:
        """Attempts that are under way."""
        return len(self._coming)

    def _tell(self, name: K) -> None:
        now = self._clock()
        self._failed = {key: kept for key, kept in self._failed.items() if now - kept[0] < REMEMBERED}
        if name in self._failed:
            raise self._failed[name][1].with_traceback(None)

    async def _attempt(self, name: K) -> T:
        try:
            return await self._get(name)
        except Exception as error:
            self._failed[name] = (self._clock(), error)
            raise
        finally:
            del self._coming[name]


def _heard(task: asyncio.Task[T]) -> None:
    """Nobody may be left who waits for it."""
    if not task.cancelled():
        task.exception()
