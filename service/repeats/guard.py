"""What every POST with an `Idempotency-Key` passes, just inside `service.http.Guard`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.db.session import Database
from service.errors import BUSY, Conflict
from service.repeats import key, store
from service.repeats.store import LEASE, Answer, Asked

MOST = 256 * 1024
"""Bytes of an answer that are kept; a longer one is given and forgotten."""
UNTOLD = "the answer held a secret, which is not kept; look what there is, and have the secret made anew if it is lost"
_SECRET = re.compile(rb'"(agon_[A-Za-z0-9_-]{43}|whsec_[A-Za-z0-9+/]{24,}=*)"')
"""A token of ours or a webhook's secret, should an endpoint not have said that it tells one."""
KEPT = ("content-type", "location", "etag", "link")
"""Headers that are kept with it; the others are the connection's, or the request's that asks."""


class Repeats:
    """ASGI middleware. Of a POST with a key: done once; whoever sends it again is given the answer that it had.

    Kept are answers of what was done (2xx). A refusal has done nothing, and a failure may pass: the key is free again. Not kept are
    streams, what is longer than MOST, and cookies; of a secret it is kept that there was one (`key.once`).

    except_for: templates of paths whose endpoints keep the key themselves, together with what they make, or change nothing.
    """

    def __init__(self, app: ASGIApp, *, db: Database, hours: float, except_for: Collection[str]) -> None:
        self.app, self.db, self.life = app, db, timedelta(hours=hours)
        self._except_for = re.compile("|".join(re.sub(r"{[^}]+}", "[^/]+", path) for path in except_for) or "(?!)")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection. Raises BadRequest, Invalid, Conflict."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        state, given = scope["state"], key.read(Headers(scope=scope))
        state["idempotency_key"] = given
        if given is None or "principal" not in state or self._except_for.fullmatch(scope["path"]):
            await self.app(scope, receive, send)
            return
        message = await receive()  # all of the body, as the Guard has read it
        whose = state["principal"].owner or state["principal"].id
        asked = await run_in_threadpool(
            Asked.of, whose, "POST", scope["path"], scope["query_string"], given, message.get("body", b"")
        )
        found = await run_in_threadpool(store.claim, self.db, asked, datetime.now(UTC), self.life)
        if isinstance(found, Answer):
            await _again(found)(scope, receive, send)
            return
        async with self._held(asked, found):
            await self._do(scope, _first(message, receive), send, asked, found)

    async def _do(self, scope: Scope, receive: Receive, send: Send, asked: Asked, mine: str) -> None:
        """Once. If the server is stopped meanwhile the claim stays: a thread may do it yet."""
        record = _Record(send, partial(self._settle, scope["state"], asked, mine))
        try:
            await self.app(scope, receive, record.take)
        except Exception:
            await self._settle(scope["state"], asked, mine, None)
            raise

    async def _settle(self, state: Mapping[str, Any], asked: Asked, mine: str, answer: Answer | None) -> None:
        """Before anything is answered: who hears the answer may ask again at once."""
        with suppress(
            *BUSY
        ):  # it is answered all the same: a repeat finds the claim, and does it anew when that has run out
            if answer is None:
                await run_in_threadpool(store.let_go, self.db, asked, mine)
                return
            told: str | None = state.get("told_of_secret") or (UNTOLD if _SECRET.search(answer.body) else None)
            kept = answer if told is None else Answer(Conflict.status, body=told.encode())
            await run_in_threadpool(store.keep, self.db, asked, mine, kept, datetime.now(UTC))

    @asynccontextmanager
    async def _held(self, asked: Asked, mine: str) -> AsyncIterator[None]:
        """Renew the claim for as long as the request takes."""

        async def hold() -> None:
            while True:
                await asyncio.sleep(LEASE.total_seconds() / 3)
                with suppress(*BUSY):
                    await run_in_threadpool(store.renew, self.db, asked, mine, datetime.now(UTC))

        task = asyncio.create_task(hold())
        try:
            yield
        finally:
            task.cancel()


class _Record:
    """Holds an answer back until it is whole; one that isn't to be kept passes as it comes. settle: is told which, before."""

    def __init__(self, send: Send, settle: Callable[[Answer | None], Awaitable[None]]) -> None:
        self._send, self._settle = send, settle
        self._held: list[Message] | None = []
        self._size = 0

    async def take(self, message: Message) -> None:
        """A part of the answer."""
        if self._held is None:
            await self._send(message)
            return
        self._held.append(message)
        self._size += len(message.get("body", b""))
        if not _keepable(self._held[0]) or self._size > MOST:
            await self._pass_on(None)
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            await self._pass_on(_answer(self._held))

    async def _pass_on(self, answer: Answer | None) -> None:
        held, self._held = self._held or [], None
        await self._settle(answer)
        for message in held:
            await self._send(message)


def _keepable(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    streams = headers.get("content-type", "").startswith("text/event-stream")
    return 200 <= start["status"] < 300 and not streams and "set-cookie" not in headers


def _answer(messages: list[Message]) -> Answer:
    start, *parts = messages
    headers = Headers(raw=start["headers"])
    kept = {name: headers[name] for name in KEPT if name in headers}
    return Answer(start["status"], kept, b"".join(part.get("body", b"") for part in parts))


def _again(answer: Answer) -> Response:
    """The answer that was given. Raises Conflict in place of one that held a secret."""
    if answer.status == Conflict.status:
        raise Conflict(answer.body.decode(), headers={key.REPLAYED: "true"})
    return Response(answer.body, answer.status, {**answer.headers, key.REPLAYED: "true"})


def _first(message: Message, receive: Receive) -> Receive:
    """Gives what was taken from it, then goes on."""
    taken = [message]

    async def again() -> Message:
        return taken.pop() if taken else await receive()

    return again
