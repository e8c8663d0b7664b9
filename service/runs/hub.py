"""Who follows something that changes. One poller a process looks for changes of all that anyone follows; a follower costs no
thread and no connection while nothing happens, and is woken by nothing but what it follows."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from service.access.live import Ticket, over
from service.db.session import Database

POLL_SECONDS = 0.5
K = TypeVar("K", bound=Hashable)
M = TypeVar("M", bound=Hashable)


class Followed(ABC, Generic[K, M]):
    """Tells followers that there is something new: that the mark of what they follow is another. All methods but `poke` belong
    to the event loop."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._followers: Counter[K] = Counter()
        self._marks: dict[K, M] = {}
        self._tickets: Counter[Ticket] = Counter()
        self._news: dict[K, asyncio.Event] = {}
        """Set, and made anew, when there is something new of that."""
        self._changed: set[K] = set()
        """Of these something is said to be new."""
        self._woken = 0
        """Followers that the last look had something for."""
        self._poked = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @abstractmethod
    def marks(self, session: Session, followed: Sequence[K]) -> dict[K, M]:
        """Of each its mark as it is now; in a thread."""

    async def run(self) -> None:
        """Look for as long as the application lives: at what changed in this process at once, at all that is followed every
        `POLL_SECONDS`; idle while nobody follows."""
        self._loop = asyncio.get_running_loop()
        everything = 0.0
        while True:
            if not self._followers:
                await self._poked.wait()
            self._poked.clear()
            changed, self._changed = self._changed & self._followers.keys(), set()
            if self._loop.time() >= everything:
                everything = self._loop.time() + POLL_SECONDS
                await self._look(list(self._followers), list(self._tickets))
            elif changed:
                await self._look(list(changed), [])
            await asyncio.sleep(self.pause())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._poked.wait(), max(0.0, everything - self._loop.time()))

    def pause(self) -> float:
        """Seconds that pass between two looks, however often it is poked."""
        return 0.0

    def poke(self, followed: K) -> None:
        """From any thread: this changed just now."""
        if self._loop is not None and followed in self._followers:
            self._loop.call_soon_threadsafe(self._look_soon, followed)

    def _look_soon(self, followed: K) -> None:
        self._changed.add(followed)
        self._poked.set()

    async def changed(self, followed: K, seen: M, ticket: Ticket) -> None:
        """Return once its mark is not `seen`, or the follower may hear no more."""
        while self._marks.get(followed, seen) == seen and not ticket.over:
            await self._news.setdefault(followed, asyncio.Event()).wait()

    def enter(self, followed: K, ticket: Ticket) -> None:
        """A follower came. Its ticket is looked at again every `POLL_SECONDS`, and says when it is over."""
        self._followers[followed] += 1
        self._tickets[ticket] += 1
        self._look_soon(followed)

    def leave(self, followed: K, ticket: Ticket) -> None:
        """A follower went."""
        self._followers[followed] -= 1
        if self._followers[followed] <= 0:
            del self._followers[followed]
            self._marks.pop(followed, None)
            self._news.pop(followed, None)
        self._tickets[ticket] -= 1
        if self._tickets[ticket] <= 0:
            del self._tickets[ticket]

    async def _look(self, followed: Sequence[K], tickets: Sequence[Ticket]) -> None:
        """At these, and whether those tickets are over."""
        try:
            found, ended = await run_in_threadpool(self._load, followed, tickets)
        except Exception:
            return
        moved = [key for key, mark in found.items() if key in self._followers and self._marks.get(key) != mark]
        self._marks.update((key, found[key]) for key in moved)
        for ticket in ended:
            ticket.over = True
        if ended:
            moved = list(self._news)
        self._woken = sum(self._followers[key] for key in moved)
        for key in moved:
            if (news := self._news.pop(key, None)) is not None:
                news.set()

    def _load(self, followed: Sequence[K], tickets: Sequence[Ticket]) -> tuple[dict[K, M], list[Ticket]]:
        """Marks, and those of the tickets that are over."""
        with self._db.read() as session:
            ended = over(session, tickets) if tickets else []
            return self.marks(session, followed), ended
