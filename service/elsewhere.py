"""What a request makes this process do elsewhere: read a manifest, ask MLflow or Ray. It may hang, and then nothing else does.

Such a call runs in a thread of its own, of which each pool has few. Its request waits on the event loop and holds no thread of
those that all requests share; it is given up when its time is over or its client is gone. A call that goes on regardless keeps its
place in the pool until it returns, and does not keep the process from ending: its thread is a daemon.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from starlette.requests import ClientDisconnect

from service.errors import Unavailable

T = TypeVar("T")
LOOK_SECONDS = 0.25
"""How often a waiting request looks whether its client is still there."""
MOST_WAITING, MOST_WAITING_OF_ONE = 400, 100
"""Requests that may wait for their turn: all of them, and those of one caller, who must not keep the others from waiting."""
PING_SECONDS = 1.0
"""How long a health check waits for one part."""
Gone = Callable[[], Awaitable[bool]]


async def _present() -> bool:
    return False


@dataclass(frozen=True)
class Errand:
    """Who asks, and whether they have gone."""

    caller: str = ""
    gone: Gone = _present


class Pool:
    """At most `width` calls at once, at most `share` of them one caller's, each `seconds` long, with the wait for its turn.

    All methods belong to the event loop.
    """

    def __init__(self, what: str, seconds: float, width: int, share: int | None = None) -> None:
        self.what, self.seconds, self.width, self.share = what, seconds, width, share or width
        self._running: Counter[str] = Counter()
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()

    async def run(
        self, call: Callable[..., T], *args: object, errand: Errand, stop: threading.Event | None = None
    ) -> T:
        """`call(*args)` in a thread. stop: is set when the call is given up, for calls that look at it.

        Raises what the call raises, Unavailable with Retry-After when its time is over, ClientDisconnect when the client is gone.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self.seconds
        try:
            await self._turn(errand, end)
            result: asyncio.Future[T] = loop.create_future()

            def work() -> None:
                try:
                    value = call(*args)
                except BaseException as error:
                    self._tell(loop, errand.caller, partial(_fail, result, error))
                else:
                    self._tell(loop, errand.caller, partial(_give, result, value))

            try:
                here = contextvars.copy_context()  # its lines in the log are the request's
                threading.Thread(target=here.run, args=(work,), name=f"elsewhere: {self.what}", daemon=True).start()
            except RuntimeError:  # no thread to be had
                self._leave(errand.caller)
                raise
            return await self._wait(result, errand, end, f"{self.what} did not answer within {self.seconds:g} s")
        finally:
            if stop is not None:
                stop.set()

    def _tell(self, loop: asyncio.AbstractEventLoop, caller: str, deliver: Callable[[], None]) -> None:
        """From the call's thread: it has ended."""

        def ended() -> None:
            self._leave(caller)
            deliver()

        with suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(ended)

    async def _turn(self, errand: Errand, end: float) -> None:
        """Take a place. Whoever waits longest and may go in is next."""
        if self._free(errand.caller):
            self._running[errand.caller] += 1
            return
        own = sum(waiting == errand.caller for waiting, _ in self._waiting)
        if len(self._waiting) >= MOST_WAITING or own >= MOST_WAITING_OF_ONE:
            raise Unavailable(f"too many requests wait for {self.what}; try again", headers={"Retry-After": "2"})
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((errand.caller, turn))
        try:
            await self._wait(turn, errand, end, f"too many requests wait for {self.what}")
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._leave(errand.caller)  # the turn came just then
            else:
                self._waiting.remove((errand.caller, turn))
            raise

    def _free(self, caller: str) -> bool:
        return self._running.total() < self.width and self._running[caller] < self.share

    def _leave(self, caller: str) -> None:
        self._running[caller] -= 1
        if not self._running[caller]:
            del self._running[caller]
        for index, (waiting, turn) in enumerate(self._waiting):
            if self._free(waiting):
                del self._waiting[index]
                self._running[waiting] += 1
                turn.set_result(None)
                return

    async def _wait(self, future: asyncio.Future[T], errand: Errand, end: float, late: str) -> T:
        """The future's result; it is not cancelled when it is given up."""
        loop = asyncio.get_running_loop()
        while not future.done():
            left = end - loop.time()
            if left <= 0:
                raise Unavailable(f"{late}; try again", headers={"Retry-After": "2"})
            await asyncio.wait({future}, timeout=min(left, LOOK_SECONDS))
            if not future.done() and await errand.gone():
                raise ClientDisconnect
        return future.result()


def _give(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[T], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # heard, also if nobody waits any more


class Pulse:
    """Whether a part answers. All who ask while a ping is under way wait for that one, and no longer than for one that hangs."""

    def __init__(self, name: str) -> None:
        self._pool = Pool(name, seconds=60.0, width=1)
        self._ping: asyncio.Task[object] | None = None
        self._since = 0.0

    async def feel(self, ping: Callable[[], object]) -> None:
        """Raises what the ping raises, TimeoutError."""
        loop = asyncio.get_running_loop()
        if self._ping is None or self._ping.done():
            self._ping, self._since = asyncio.create_task(self._pool.run(ping, errand=Errand())), loop.time()
            self._ping.add_done_callback(lambda task: task.cancelled() or task.exception())  # heard by whoever is there
        done, _ = await asyncio.wait({self._ping}, timeout=max(0.0, self._since + PING_SECONDS - loop.time()))
        if not done:
            raise TimeoutError(f"no answer within {PING_SECONDS:g} s")
        self._ping.result()


class Elsewhere:
    """The pools of one application, and what its health checks ask, which wait for no pool."""

    def __init__(self) -> None:
        self.data = Pool("the data", seconds=20.0, width=8, share=4)
        self.checks = Pool("the check of the data", seconds=600.0, width=4, share=2)
        self.ray = Pool("Ray", seconds=12.0, width=6, share=3)
        self.mlflow = Pool("MLflow", seconds=20.0, width=6, share=3)
        self.notes = Pool("MLflow", seconds=60.0, width=1)
        self.logs = Pool("the search through logs", seconds=20.0, width=2, share=1)
        self.pictures = Pool("the cutting of sample grids", seconds=20.0, width=2, share=1)
        self.curves = Pool("the reading of events", seconds=30.0, width=2, share=1)
        self.collection = Pool("the collection of garbage", seconds=30.0, width=1)
        self.removals = Pool("the removal of files", seconds=25.0, width=2, share=1)
        self.disk = Pool("the disk", seconds=8.0, width=2, share=1)
        self.pulses = {name: Pulse(name) for name in ("database", "Ray", "MLflow")}
