"""The load generator: requests that are due at times fixed beforehand, and latencies that count from then. It runs in a process of its own."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any, NamedTuple, TypeVar

import aiohttp

GRACE = 2.0
"""Seconds after the last request was due at which what is not answered is given up."""
PATIENCE = aiohttp.ClientTimeout(total=60.0)
T = TypeVar("T")


class Ask(NamedTuple):
    """One request, `due` so many seconds after the start."""

    due: float
    method: str
    path: str
    body: bytes | None = None
    token: str = ""
    what: str = ""
    """Which of several kinds it is."""


@dataclass
class Outcome:
    """What became of the requests. Latencies in seconds, from when each was due."""

    latencies: list[float] = field(default_factory=list)
    by: dict[str, list[float]] = field(default_factory=dict)
    """The same of those that were answered, by kind."""
    statuses: Counter[str] = field(default_factory=Counter)
    unserved: int = 0
    seconds: float = 0.0
    """From the start to the last answer."""

    @property
    def answered(self) -> int:
        """How many were answered as hoped."""
        return sum(count for status, count in self.statuses.items() if status.startswith("2"))

    def row(self, offered: float) -> dict[str, Any]:
        """Columns of a report. offered: requests a second."""
        wrong = {status: count for status, count in self.statuses.items() if not status.startswith("2")}
        wrong |= {"unserved": self.unserved} if self.unserved else {}
        return {
            "offered_per_s": round(offered, 1),
            "reached_per_s": round(self.answered / self.seconds, 1) if self.seconds else 0.0,
            **{name: round(1e3 * value, 1) for name, value in quantiles(self.latencies).items()},
            "errors": " ".join(f"{status}: {count}" for status, count in sorted(wrong.items())),
        }


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50_ms, p99_ms and max_ms, still in seconds; zeros of nothing."""
    found = sorted(seconds) or [0.0]
    return {
        "p50_ms": found[len(found) // 2],
        "p99_ms": found[min(len(found) - 1, int(0.99 * len(found)))],
        "max_ms": found[-1],
    }


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Times of a Poisson process of that many a second, ascending."""
    draw, found, now = random.Random(seed), [], 0.0
    while (now := now + draw.expovariate(rate)) < seconds:
        found.append(now)
    return found


async def offer(
    lanes: Sequence[Sequence[Ask]], clients: int, call: Callable[[Ask], Awaitable[str]], grace: float = GRACE
) -> Outcome:
    """Make the requests by so many clients. Each takes the next one of its lane (client i of lane i modulo their number) when it has
    an answer to its last and the next is due."""
    queues, outcome = [deque(lane) for lane in lanes], Outcome()
    until = max((lane[-1].due for lane in lanes if lane), default=0.0) + grace
    begun = time.perf_counter()
    asked: dict[int, Ask] = {}

    async def client(number: int) -> None:
        queue = queues[number % len(queues)]
        while queue:
            ask = asked[number] = queue.popleft()
            await asyncio.sleep(max(0.0, ask.due - (time.perf_counter() - begun)))
            status = await call(ask)
            outcome.seconds = time.perf_counter() - begun
            outcome.latencies.append(outcome.seconds - ask.due)
            outcome.by.setdefault(ask.what, []).append(outcome.seconds - ask.due)
            outcome.statuses[status] += 1
            del asked[number]

    tasks = [asyncio.create_task(client(number)) for number in range(clients)]
    await asyncio.wait(tasks, timeout=until)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    left = [*asked.values(), *(ask for queue in queues for ask in queue)]
    outcome.latencies += [time.perf_counter() - begun - ask.due for ask in left]
    outcome.unserved = len(left)
    return outcome


def caller(session: aiohttp.ClientSession, url: str, token: str) -> Callable[[Ask], Awaitable[str]]:
    """Makes one request: its status, or what went wrong."""

    async def call(ask: Ask) -> str:
        headers = {"Authorization": f"Bearer {ask.token or token}", "Content-Type": "application/json"}
        try:
            async with session.request(ask.method, url + ask.path, data=ask.body, headers=headers) as reply:
                await reply.read()
                return str(reply.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            return type(error).__name__

    return call


async def _made(url: str, token: str, lanes: Sequence[Sequence[Ask]], clients: int) -> Outcome:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=PATIENCE) as session:
        return await offer(lanes, clients, caller(session, url, token))


def made(url: str, token: str, lanes: Sequence[Sequence[Ask]], clients: int) -> Outcome:
    """What became of the requests, in this process."""
    return asyncio.run(_made(url, token, lanes, clients))


def apart(work: Callable[..., T], *given: Any) -> T:
    """The same in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *given).result()
