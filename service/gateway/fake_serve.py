"""A Ray Serve that serves nothing: declared applications come and go as the real one's do, and it answers as a test tells it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from threading import RLock

from service.gateway.dashboard import RayAwayError
from service.gateway.ray_serve import (
    Answer,
    Application,
    AppState,
    LateError,
    NoProxyError,
    ServeRefusedError,
    ServeState,
)

Answering = Callable[[str, bytes, Mapping[str, str]], Awaitable[Answer]]


class FakeServe:
    """In memory. `sluggish`: what was declared stays as it is until `settle`, as processes take their time."""

    def __init__(self, port: int = 8702) -> None:
        self.port = port
        self.there = False
        self.applications: dict[str, AppState] = {}
        self.calls: list[str] = []
        self.asked: list[tuple[str, bytes, dict[str, str]]] = []
        self.limits: list[float] = []
        """Seconds that each question might take."""
        self.cancelled = 0
        """Questions whose askers went."""
        self.unreachable = False
        self.refuse = ""
        self.fail = ""
        """With this message every application fails to deploy."""
        self.sluggish = False
        self.answer: Answering = _nothing
        """What an application that runs answers."""
        self._lock = RLock()

    def declare(self, applications: Sequence[Application]) -> None:
        """See RayServe."""
        self._enter("declare")
        if self.refuse:
            raise ServeRefusedError(self.refuse)
        with self._lock:
            self.there = True
            wanted = {item.name: item for item in applications}
            for name in list(self.applications):
                if name not in wanted:
                    self.applications[name] = replace(self.applications[name], status="DELETING", coming=0)
            for name, item in wanted.items():
                known = self.applications.get(name)
                if known is None or known.status == "DELETING" or known.args != dict(item.args):
                    self.applications[name] = AppState("DEPLOYING", args=dict(item.args))
        if not self.sluggish:
            self.settle()

    def settle(self) -> None:
        """What was begun is done."""
        with self._lock:
            for name, item in list(self.applications.items()):
                if item.status == "DELETING":
                    del self.applications[name]
                elif item.status == "DEPLOYING" and self.fail:
                    self.applications[name] = replace(item, status="DEPLOY_FAILED", message=self.fail)
                elif item.status == "DEPLOYING":
                    self.applications[name] = replace(item, status="RUNNING", message="", running=1, coming=0)

    def move(self, name: str, status: str, *, message: str = "", running: int = 0, coming: int = 0) -> None:
        """What its replicas do."""
        with self._lock:
            known = self.applications[name]
            self.applications[name] = replace(known, status=status, message=message, running=running, coming=coming)

    def forget(self) -> None:
        """Ray's head is restarted."""
        with self._lock:
            self.there = False
            self.applications.clear()

    def state(self) -> ServeState:
        """See RayServe."""
        self._enter("state")
        with self._lock:
            if not self.there:
                return ServeState()
            return ServeState(True, self.port, ("HEALTHY",), dict(self.applications))

    def shutdown(self) -> None:
        """See RayServe."""
        self._enter("shutdown")
        self.forget()

    async def ask(self, path: str, body: bytes, headers: Mapping[str, str], seconds: float) -> Answer:
        """See RayServe."""
        self.asked.append((path, body, dict(headers)))
        self.limits.append(seconds)
        if not self.there or self.unreachable:
            raise NoProxyError("Ray Serve's proxy at http://fake can't be reached (connection refused)")
        found = self.applications.get(path.split("/")[1])
        if found is None or found.status in ("DEPLOYING", "DELETING", "DEPLOY_FAILED"):
            words = f"Path '{path}' not found. Ping http://.../-/routes for available routes."
            return Answer(404, words.encode(), {"content-type": "text/plain"})
        began = time.monotonic()
        try:
            return await asyncio.wait_for(self.answer(path, body, headers), seconds)
        except TimeoutError:
            raise LateError(f"no answer within {time.monotonic() - began:g} s") from None
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    def close(self) -> None:
        """Nothing to close."""

    async def aclose(self) -> None:
        """Nothing to close."""

    def _enter(self, call: str) -> None:
        self.calls.append(call)
        if self.unreachable:
            raise RayAwayError("Ray at http://fake can't be reached (connection refused)", nobody=True)


async def _nothing(_path: str, _body: bytes, _headers: Mapping[str, str]) -> Answer:
    return Answer(200, b"", {"content-type": "application/octet-stream"})
