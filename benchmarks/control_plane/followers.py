"""Server-sent events to very many followers: of one job, of a job each, and of all runs."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp

from benchmarks.control_plane import rows
from benchmarks.control_plane.load import Ask, Outcome, apart, caller, offer, quantiles
from benchmarks.control_plane.scale import DELIVERY_MS, Scale
from benchmarks.control_plane.taken import lanes
from benchmarks.control_plane.told import Book
from benchmarks.control_plane.world import World
from service.runs.files import submission_id

RATE = 100.0
"""Events a second."""
BATCH = 10
"""Events that are reported at once."""
COMING = 50
"""Streams that are opened at once."""
OPEN_SECONDS, GRACE = 90.0, 10.0
STAMP = re.compile(rb'"at":\s*([0-9.]+)')


@dataclass
class Heard:
    """By all followers together: latencies in seconds, from when each event was due to be reported."""

    latencies: list[float] = field(default_factory=list)
    opened: int = 0
    posted: Outcome = field(default_factory=Outcome)
    seconds: float = 0.0


class Listener:
    """One stream."""

    def __init__(self, heard: Heard) -> None:
        self.heard, self.begun, self.first = heard, 0.0, asyncio.Event()
        self._rest = b""

    async def follow(self, session: aiohttp.ClientSession, url: str, token: str) -> None:
        """Until cancelled."""
        async with session.get(url, headers={"Authorization": f"Bearer {token}"}) as reply:
            reply.raise_for_status()
            async for chunk in reply.content.iter_any():
                self.first.set()
                self.take(chunk, time.perf_counter())

    def take(self, chunk: bytes, now: float) -> None:
        """What came now."""
        whole, _, self._rest = (self._rest + chunk).rpartition(b"\n")
        if self.begun:
            self.heard.latencies.extend(now - self.begun - float(at) for at in STAMP.findall(whole))


async def _followed(url: str, token: str, streams: Sequence[str], posts: list[list[Ask]], expected: int) -> Heard:
    heard, timeout = Heard(), aiohttp.ClientTimeout(total=None, sock_connect=60.0)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        listeners = [Listener(heard) for _ in streams]
        tasks = []
        for begin in range(0, len(streams), COMING):
            part = range(begin, min(begin + COMING, len(streams)))
            tasks += [asyncio.create_task(listeners[at].follow(session, url + streams[at], token)) for at in part]
            coming = [asyncio.create_task(listeners[at].first.wait()) for at in part]
            done, late = await asyncio.wait(coming, timeout=OPEN_SECONDS)
            heard.opened += len(done)
            for waits in late:
                waits.cancel()
        begun = time.perf_counter()
        for listener in listeners:
            listener.begun = begun
        heard.posted = await offer(posts, len(posts), caller(session, url, token))
        until = begun + max(lane[-1].due for lane in posts if lane) + GRACE
        while len(heard.latencies) < expected and time.perf_counter() < until:
            await asyncio.sleep(0.05)
        heard.seconds = time.perf_counter() - begun
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return heard


def followed(url: str, token: str, streams: Sequence[str], posts: list[list[Ask]], expected: int) -> Heard:
    """What these streams heard of these reports; ends when they heard all that is expected, or `GRACE` seconds after the last."""
    return asyncio.run(_followed(url, token, streams, posts, expected))


def measure(book: Book, world: World, scale: Scale) -> None:
    """Rows and targets."""
    dues = [BATCH / RATE * turn for turn in range(int(scale.seconds * RATE / BATCH))]
    for what, reporters in (("of all runs", 10), ("of a job each", scale.followers), ("of one job", 1)):
        with world.fresh() as db:
            running = rows.running(db, reporters)
            rows.settle(db)
            server = world.start([(submission_id(name, 1), "RUNNING") for _, name, _ in running])
            names = [running[at % reporters][1] for at in range(scale.followers)]
            streams = [f"/v1/jobs/{name}/events" for name in names]
            if what == "of all runs":
                streams = ["/v1/events"] * scale.followers
            posts = lanes(running, dues, BATCH, {})
            expected = BATCH * len(dues) * (1 if what == "of a job each" else scale.followers)
            with world.measured() as spent:
                heard = apart(followed, server.url, world.token, streams, posts, expected)
            _tell(book, scale, what, heard, expected, spent_row=spent.row(len(heard.latencies)))
            book.profile("followers", what, spent)


def _tell(book: Book, scale: Scale, what: str, heard: Heard, expected: int, spent_row: dict[str, float]) -> None:
    lost = expected - len(heard.latencies)
    latencies = [*heard.latencies, *[heard.seconds] * max(0, lost)]
    found = quantiles(latencies)
    book.row(
        "followers",
        f"{scale.followers} {what}",
        opened=heard.opened,
        events_per_s=RATE,
        deliveries_per_s=round(len(heard.latencies) / heard.seconds, 1),
        **{name: round(1e3 * value, 1) for name, value in found.items()},
        not_delivered=lost,
        post_p99_ms=round(1e3 * quantiles(heard.posted.latencies)["p99_ms"], 1),
        **spent_row,
    )
    name = f"p99 of delivery to {scale.followers} followers {what}, {RATE:g} events/s"
    book.at_most(name, DELIVERY_MS, 1e3 * found["p99_ms"], "ms")
