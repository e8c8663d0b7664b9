"""Bodies of requests: read within a bound of bytes and of time, and JSON that every database and language reads alike."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any

from anyio import CapacityLimiter, to_thread
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from service.errors import BadRequest, TooLarge, TooSlow
from trainer import strict

READ_SECONDS = 30.0
"""A body that isn't there by then is given up, however steadily it drips."""
ON_THE_LOOP = 8 * 1024
"""Bytes that are parsed where they arrive (some milliseconds at most); larger bodies are parsed in a thread."""
PARSERS = 2
"""Bodies that are parsed at once: they share the interpreter with everything else."""
DRAIN_SECONDS, DRAIN_BYTES = 2.0, 16 * 1024 * 1024
"""What is still taken in, and thrown away, of a body that was refused: a connection closed before may lose the answer."""
_EVENTS = re.compile(r"/v1/jobs/[^/]+/events")
_SESSIONS = ("/v1/session", "/sign-in", "/sign-out")
FORMS = frozenset({"/sign-in", "/sign-out"})
"""Where a browser's form is sent, without a script: `application/x-www-form-urlencoded`. All else is JSON."""
_QUESTIONS = re.compile(r"/v1/models/[^/]+/(path|traverse|encode|reconstruct|neighbours)")
_SEARCHES = re.compile(r"/v1/searches(/validate)?")


@dataclass(frozen=True)
class Bound:
    """How much one body may hold. `values`: numbers, strings, lists …, counted by the signs that part or open them."""

    size: int
    values: int


def bound_of(path: str, most: int) -> Bound:
    """What the endpoint takes; `most`: bytes that any of them does. A run reports hundreds of events at once, people send specs."""
    if path in _SESSIONS:  # read before anyone has said who they are
        return Bound(1024, 10)
    if _EVENTS.fullmatch(path):
        return Bound(most, 250_000)
    if _QUESTIONS.fullmatch(path):  # images, or a direction of many numbers
        return Bound(most, 100_000)
    if _SEARCHES.fullmatch(path):
        return Bound(min(most, 1024 * 1024), 100_000)
    return Bound(min(most, 256 * 1024), 20_000)


def announced(headers: Headers) -> bool:
    """Whether the request says that it has a body."""
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


class BodyReader:
    """One per application."""

    def __init__(self, most: int, seconds: float = READ_SECONDS) -> None:
        self.most, self.seconds = most, seconds
        self._parsers = CapacityLimiter(PARSERS)

    async def read(self, path: str, headers: Headers, receive: Receive) -> bytes:
        """The whole body. Raises TooLarge, TooSlow; ClientDisconnect if the client goes before it is whole."""
        bound = bound_of(path, self.most)
        length = headers.get("content-length", "")
        if length.isdecimal() and (len(length) > 18 or int(length) > bound.size):
            raise TooLarge(f"the body has {length[:40]} bytes; at most {bound.size} are read here")
        try:
            async with asyncio.timeout(self.seconds):
                return await _whole(receive, bound.size)
        except TimeoutError:
            raise TooSlow(f"the body was not there within {self.seconds:g} s") from None

    async def check(self, path: str, body: bytes) -> None:
        """Whether the body is strict JSON, or empty, or a short form. Raises TooLarge, BadRequest."""
        if path in FORMS:
            return
        most = bound_of(path, self.most).values
        if sum(body.count(sign) for sign in b",[{") > most:
            raise TooLarge(f"the body holds more than {most} values")
        if len(body) > ON_THE_LOOP:
            await to_thread.run_sync(strict_json, body, limiter=self._parsers)
        elif body:
            strict_json(body)


async def _whole(receive: Receive, size: int) -> bytes:
    parts, found, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        found += len(parts[-1])
        more = message.get("more_body", False)
        if found > size:
            raise TooLarge(f"the body has more than {size} bytes")
    return b"".join(parts)


async def drain(headers: Headers, receive: Receive) -> None:
    """Take in what is left of a refused body, for a moment, so that its client comes to read the answer."""
    length = headers.get("content-length", "")
    if "expect" in headers or (length.isdecimal() and (len(length) > 18 or int(length) > DRAIN_BYTES)):
        return
    left = DRAIN_BYTES
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return


def strict_json(body: bytes | str) -> Any:
    """See `trainer.strict`. Raises BadRequest."""
    try:
        return strict.loads(body)
    except ValueError as error:
        raise BadRequest(f"the body is not valid JSON: {str(error)[:200]}") from None
