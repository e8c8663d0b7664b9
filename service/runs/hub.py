"""Who follows something that changes. One poller a process looks for changes of all that anyone follows; a follower costs no
thread and no connection while nothing happens."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from service.access.live import valid_digests
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
        self._tokens: Counter[str] = Counter()
        self._revoked: set[str] = set()
        self._news = asyncio.Condition()
        self._poked = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @abstractmethod
    def marks(self, session: Session, followed: Sequence[K]) -> dict[K, M]:
        """Of each its mark as it is now; in a thread."""

    async def run(self) -> None:
        """Poll for as long as the application lives; idle while nobody follows."""
        self._loop = asyncio.get_running_loop()
        while True:
            if not self._followers:
                await self._poked.wait()
            self._poked.clear()
            await self._look()
            await asyncio.sleep(self.pause())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._poked.wait(), POLL_SECONDS)

    def pause(self) -> float:
        """Seconds that pass between two looks, however often it is poked."""
        return 0.0

    def poke(self, followed: K) -> None:
        """From any thread: this changed just now."""
        if self._loop is not None and followed in self._followers:
            self._loop.call_soon_threadsafe(self._poked.set)

    async def changed(self, followed: K, seen: M, token: str = "") -> None:
        """Return once its mark is not `seen`, or the token, or the session, is good no more."""
        async with self._news:
            await self._news.wait_for(lambda: self._marks.get(followed, seen) != seen or token in self._revoked)

    def is_revoked(self, token: str) -> bool:
        """Whether the follower may hear no more."""
        return token in self._revoked

    def enter(self, followed: K, token: str = "") -> None:
        """A follower came, with a token, or a session, of that digest; "": with neither, and nothing ends what it hears."""
        self._followers[followed] += 1
        if token:
            self._tokens[token] += 1
        self._poked.set()

    def leave(self, followed: K, token: str = "") -> None:
        """A follower went."""
        self._followers[followed] -= 1
        if self._followers[followed] <= 0:
            del self._followers[followed]
            self._marks.pop(followed, None)
        self._tokens[token] -= 1
        if self._tokens[token] <= 0:
            del self._tokens[token]
            self._revoked.discard(token)

    async def _look(self) -> None:
        followed, tokens = list(self._followers), set(self._tokens)
        try:
            found, valid = await run_in_threadpool(self._load, followed, tokens)
        except Exception:
            return
        revoked = (tokens - valid) & self._tokens.keys()
        async with self._news:
            if revoked != self._revoked or any(self._marks.get(key) != mark for key, mark in found.items()):
                self._revoked = revoked
                self._marks.update((key, mark) for key, mark in found.items() if key in self._followers)
                self._news.notify_all()

    def _load(self, followed: Sequence[K], tokens: set[str]) -> tuple[dict[K, M], set[str]]:
        """Marks, and those of the tokens that are still good."""
        with self._db.read() as session:
            valid = valid_digests(session, tokens)
            return self.marks(session, followed), valid
