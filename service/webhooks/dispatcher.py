"""Sends what is due: a thread of each API process, with an event loop of its own. Any number may run at once.

No webhook holds up another: each has few places, its owner's have a share of all, and those that take nothing just now share a few
among themselves. Killed at any point, another goes on: a delivery is taken, sent and written down as one of `service.webhooks.deliveries`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from service.db.session import Database
from service.errors import BUSY
from service.webhooks import deliveries, store
from service.webhooks.deliveries import Line, Parcel
from service.webhooks.gather import Gatherer
from service.webhooks.schedule import Verdict
from service.webhooks.sending import Post, headers

WIDTH = 32
"""Messages that are on their way at once."""
OF_OWNER, OF_ONE = 8, 2
"""Of these, of one owner's webhooks, and of one webhook."""
OF_FAILING = 8
"""Of these, of webhooks whose last attempt failed, one of each: most of them wait for the deadline."""
POLL_SECONDS, LEAST_SECONDS = 1.0, 0.05
"""Between two looks, however much arrives meanwhile."""
FORGET_SECONDS = 600.0
STOP_SECONDS = 1.5
logger = logging.getLogger("agon.webhooks")


def places(due: Sequence[Line], busy: Sequence[Line]) -> Counter[Line]:
    """How many messages of each webhook may go now, in the order in which they are due, beside those that are on their way. Pure."""
    given: Counter[Line] = Counter()
    used = Counter(line.webhook for line in busy)
    owners = Counter(line.owner for line in busy)
    failing, free = sum(line.failing for line in busy), WIDTH - len(busy)
    for _ in range(OF_ONE):  # one of each, before any has two
        for line in due:
            most = 1 if line.failing else OF_ONE
            fits = used[line.webhook] < most and owners[line.owner] < OF_OWNER and free > 0
            if not fits or (line.failing and failing >= OF_FAILING):
                continue
            given[line] += 1
            used[line.webhook] += 1
            owners[line.owner] += 1
            failing, free = failing + line.failing, free - 1
    return given


class Dispatcher:
    """One of perhaps several. clock: the time that pauses are counted in; signatures have the machine's own.

    proxied: a proxy signs people on, so they need no token to be allowed to hear.
    """

    def __init__(
        self,
        db: Database,
        post: Post,
        keep: timedelta,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        draw: Callable[[], float] = random.random,
        *,
        proxied: bool = False,
    ) -> None:
        self.db, self.post, self.keep, self.clock, self.draw = db, post, keep, clock, draw
        self.gatherer, self.proxied = Gatherer(db, proxied=proxied), proxied
        self._on_the_way: dict[asyncio.Task[object], Line] = {}
        self._forget_at = 0.0

    def start(self) -> Callable[[], None]:
        """Begin, in a thread. Returns what stops it: what is on its way is given up, as in a crash."""
        loop = asyncio.new_event_loop()
        task = loop.create_task(self.run())

        def work() -> None:
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

        thread = threading.Thread(target=work, name="webhooks", daemon=True)
        thread.start()

        def stop() -> None:
            with suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(task.cancel)
            thread.join(timeout=STOP_SECONDS)

        return stop

    async def run(self) -> None:
        """For ever."""
        try:
            while True:
                try:
                    await self.round()
                except Exception as error:
                    if not isinstance(error, BUSY):
                        logger.exception("webhooks: round failed; trying again")
                await self._rest()
        finally:
            for task in self._on_the_way:
                task.cancel()
            await asyncio.gather(*self._on_the_way, return_exceptions=True)

    async def _rest(self) -> None:
        """Until it is time to look again, or a place is free."""
        await asyncio.sleep(LEAST_SECONDS)
        if self._on_the_way:
            await asyncio.wait(self._on_the_way, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            self._on_the_way = {task: line for task, line in self._on_the_way.items() if not task.done()}
        else:
            await asyncio.sleep(POLL_SECONDS)

    async def round(self) -> int:
        """Gather, then begin to send what may be sent; how many messages that are."""
        parcels = await asyncio.to_thread(self.take) if await asyncio.to_thread(self.gatherer.gather) else []
        for parcel in parcels:
            self._on_the_way[asyncio.create_task(self.deliver(parcel))] = parcel.line
        if time.monotonic() >= self._forget_at:
            self._forget_at = time.monotonic() + FORGET_SECONDS
            await asyncio.to_thread(deliveries.forget, self.db, self.clock() - self.keep)
        return len(parcels)

    def take(self) -> list[Parcel]:
        """What may be sent now; it is ours for a while."""
        now, busy = self.clock(), list(self._on_the_way.values())
        used = Counter(line.webhook for line in busy)
        full = [number for number, count in used.items() if count >= OF_ONE]
        given = places(deliveries.due(self.db, now, full, proxied=self.proxied), busy)
        return [
            parcel
            for line, count in given.items()
            for parcel in deliveries.take(
                self.db, line, count, now, lambda hook: store.signing(hook, datetime.now(UTC))
            )
        ]

    async def deliver(self, parcel: Parcel) -> Verdict | None:
        """One attempt, and what came of it."""
        try:
            signed = headers(parcel.id, parcel.body, parcel.secrets, datetime.now(UTC))
            answer = await self.post(parcel.url, signed, parcel.body)
            return await asyncio.to_thread(deliveries.record, self.db, parcel, answer, self.clock(), self.draw())
        except Exception:  # it is sent again when the time is over for which it is ours
            logger.warning("what came of a message was not written down", exc_info=True, extra=_about(parcel))
            return None


def _about(parcel: Parcel) -> dict[str, object]:
    return {"facts": {"message": parcel.id, "webhook": parcel.line.webhook}}
