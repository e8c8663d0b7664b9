"""What every request passes before any endpoint: request id, host check, body limit and strict JSON, access log."""

from __future__ import annotations

import json
import logging
import math
import re
import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import MEDIA_TYPE, BadRequest, Problem, TooLarge

MAX_DEPTH = 32
MAX_INTEGER = 2**63 - 1
MAX_DIGITS = 400
HEALTH = ("/healthz", "/readyz")
_BAD_TEXT = re.compile("[\0\ud800-\udfff]")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
access = logging.getLogger("agon.access")


class Guard:
    """ASGI middleware, outermost. Refusals are problem documents; the access log never holds headers or queries."""

    def __init__(self, app: ASGIApp, *, max_body: int, hosts: Sequence[str]) -> None:
        self.app = app
        self.max_body = max_body
        self.hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        began, status = time.perf_counter(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                response = MutableHeaders(scope=message)
                response["X-Request-Id"] = request_id
                response["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            self._check_host(scope, headers)
            if scope["method"] in ("POST", "PUT", "PATCH", "DELETE"):
                body = await self._body(headers, receive)
                scope["headers"] = _as_json(scope["headers"]) if body else scope["headers"]
                receive = _replay(body, receive)
            await self.app(scope, receive, answer)
        except Problem as problem:
            document = {**problem.document(), "request_id": request_id}
            await JSONResponse(document, problem.status, problem.headers, MEDIA_TYPE)(scope, receive, answer)
        finally:
            facts = {"method": scope["method"], "path": scope["path"], "status": status, "request_id": request_id}
            access.info("request", extra={"facts": {**facts, "ms": round((time.perf_counter() - began) * 1e3, 1)}})

    def _check_host(self, scope: Scope, headers: Headers) -> None:
        """A page that points its own name at this address (DNS rebinding) sends that name."""
        if "*" in self.hosts or scope["path"] in HEALTH:
            return
        host = headers.get("host", "").lower()
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if name not in self.hosts:
            raise BadRequest(f"host {name[:80]!r} is not served here; add it to AGON_ALLOWED_HOSTS")

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        if (length := headers.get("content-length", "")).isdigit() and int(length) > self.max_body:
            raise TooLarge(f"the body has {length} bytes; at most {self.max_body} are read")
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = message.get("more_body", False)
            if size > self.max_body:
                raise TooLarge(f"the body has more than {self.max_body} bytes")
        body = b"".join(parts)
        if body:
            strict_json(body)
        return body


def _as_json(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The body was read as JSON, whatever `curl -d` says that it is."""
    return [*(item for item in headers if item[0] != b"content-type"), (b"content-type", b"application/json")]


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def strict_json(body: bytes | str) -> Any:
    """JSON as every database and language reads it alike. Raises BadRequest.

    Refused: NaN and infinities, integers beyond 64 bits, nesting deeper than 32, NUL and lone surrogates, repeated keys.
    """
    try:
        value = json.loads(body, parse_constant=_no_constant, parse_int=_integer, object_pairs_hook=_unique)
    except RecursionError:
        raise BadRequest(f"the JSON is nested deeper than {MAX_DEPTH}") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is not valid JSON: {str(error)[:200]}") from None
    _check(value, 0)
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number; leave the field out or use null")


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS or abs(int(text)) > MAX_INTEGER:
        raise ValueError(f"integer {text[:20]}… does not fit 64 bits")
    return int(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same key twice")
    return found


def _check(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadRequest(f"the JSON is nested deeper than {MAX_DEPTH}")
    if isinstance(value, str):
        if _BAD_TEXT.search(value):
            raise BadRequest("a string holds NUL or half of a surrogate pair; remove it")
    elif isinstance(value, float) and not math.isfinite(value):
        raise BadRequest("a number is too large for a 64-bit float")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check(key, depth)
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
