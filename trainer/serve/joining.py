"""Rows of several requests in one forward: a device computes one chunk at a time, and whoever asks for little waits for little.

A request puts its rows in; while it has rows left, each chunk takes one row of it, then another, in turn with all other
requests for the same work. So a request for one image goes along with the next chunk, however many another one asked for.
A request that is cancelled takes what isn't computed yet with it. Knows neither torch nor Ray.

Shape legend: n rows of a request.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Hashable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Rows = tuple[NDArray[Any], ...]
"""Arrays of equal length: row i of each belongs together."""


class Work(Hashable, Protocol):
    """What rows go through. Works that are equal are joined. A row's result must not depend on the others in its chunk."""

    @property
    def chunk(self) -> int:
        """Rows that go through at once, at most."""
        ...

    def run(self, rows: Rows) -> NDArray[Any]:
        """One result for each row. Called outside the event loop, never twice at a time."""
        ...


@dataclass(eq=False)
class _Asked:
    """A request: rows from `taken` on are not computed yet."""

    work: Work
    rows: Rows
    done: asyncio.Future[NDArray[Any]]
    taken: int = 0
    parts: list[NDArray[Any]] = field(default_factory=list)

    @property
    def left(self) -> int:
        return len(self.rows[0]) - self.taken


class Joiner:
    """One per device, on one event loop. device: runs one thing at a time; it stays the caller's."""

    def __init__(self, device: Executor) -> None:
        self._device = device
        self._turn: deque[_Asked] = deque()
        """Those with rows left; the first is served next."""
        self._worker: asyncio.Task[None] | None = None
        self._pace: dict[Work, float] = {}
        """Seconds a chunk took lately."""

    async def compute(self, work: Work, rows: Rows) -> NDArray[Any]:
        """The results of all rows, in order. Raises what `work.run` raises on a chunk that these rows were in."""
        asked = _Asked(work, rows, asyncio.get_running_loop().create_future())
        if not asked.left:
            raise ValueError("no rows")
        self._turn.append(asked)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._run())
        try:
            return await asked.done
        finally:
            if asked in self._turn:  # cancelled, or failed
                self._turn.remove(asked)

    @property
    def waiting(self) -> int:
        """Rows that wait to be computed."""
        return sum(asked.left for asked in self._turn)

    def seconds(self) -> float:
        """How long what waits will take, by how long chunks took lately; 0 for works that were never seen."""
        rows: Counter[Work] = Counter()
        for asked in self._turn:
            rows[asked.work] += asked.left
        return sum(-(-count // work.chunk) * self._pace.get(work, 0.0) for work, count in rows.items())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._turn:
            work, shares, rows = self._next()
            began = time.monotonic()
            try:
                results = await loop.run_in_executor(self._device, work.run, rows)
            except Exception as error:
                for asked, _ in shares:
                    self._fail(asked, error)
                continue
            self._remember(work, time.monotonic() - began)
            at = 0
            for asked, count in shares:
                asked.parts.append(results[at : at + count])
                at += count
                self._settle(asked)

    def _next(self) -> tuple[Work, list[tuple[_Asked, int]], Rows]:
        """Whose rows the next chunk takes, how many of each, and the rows. Who has more goes to the end of the turn."""
        work = self._turn[0].work
        same = [asked for asked in self._turn if asked.work == work]
        shares = _dealt([asked.left for asked in same], work.chunk)
        served = [(asked, share) for asked, share in zip(same, shares, strict=True) if share]
        rows = _together([_taken(asked, count) for asked, count in served])
        for asked, _ in served:
            self._turn.remove(asked)
            if asked.left:
                self._turn.append(asked)
        return work, served, rows

    def _settle(self, asked: _Asked) -> None:
        if not asked.left and not asked.done.done() and sum(map(len, asked.parts)) == len(asked.rows[0]):
            asked.done.set_result(np.concatenate(asked.parts))

    def _fail(self, asked: _Asked, error: Exception) -> None:
        if asked in self._turn:
            self._turn.remove(asked)
        if not asked.done.done():
            asked.done.set_exception(error)

    def _remember(self, work: Work, seconds: float) -> None:
        self._pace[work] = 0.7 * self._pace.pop(work, seconds) + 0.3 * seconds
        while len(self._pace) > 64:
            del self._pace[next(iter(self._pace))]


def _dealt(wanted: list[int], room: int) -> list[int]:
    """Shares of the room, as equal as what is wanted allows; the first get what can't be divided."""
    shares, open_ = [0] * len(wanted), list(range(len(wanted)))
    while room and open_:
        each = max(1, room // len(open_))
        for number in open_[:room]:  # whoever is open has as much as the others
            share = min(each, wanted[number] - shares[number])
            shares[number] += share
            room -= share
        open_ = [number for number in open_ if shares[number] < wanted[number]]
    return shares


def _taken(asked: _Asked, count: int) -> Rows:
    found = tuple(array[asked.taken : asked.taken + count] for array in asked.rows)
    asked.taken += count
    return found


def _together(parts: list[Rows]) -> Rows:
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
