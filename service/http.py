"""What every request passes before any endpoint: request id, host check, who asks, its body, access log."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol
from uuid import uuid4

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import tallies
from service.body import FORMS, BodyReader, announced, drain
from service.errors import MEDIA_TYPE, BadRequest, Problem, TooSlow, Unavailable, problem_of
from service.logs import about
from trainer import spans, trace
from trainer.spans import Span, Value
from trainer.trace import Trace

HEALTH = ("/healthz", "/readyz")
OPEN = (*HEALTH, "/openapi.json", "/docs", "/static")
"""Paths, and what lies below them, that need no token."""
BY_ADDRESS = (*HEALTH, "/metrics")
"""Paths that are asked for by a replica's own address: by what looks after it, and by Prometheus, which brings a token. A
page that points its name here (DNS rebinding) has none, and a browser's session goes by the name."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
GONE = 499
"""Status in the access log of a request whose client went before it was answered."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
access = logging.getLogger("agon.access")


@dataclass(frozen=True)
class Asked:
    """What is known of a request before its body is read."""

    method: str
    path: str
    headers: Headers
    peer: str | None
    """Address of whoever is connected; None: it is no network's."""


class Witness(Protocol):
    """Sees one request."""

    async def begins(self, body: bytes) -> None:
        """It is let in, its body is read, the endpoint is next."""
        ...

    async def ended(self, status: int, *, repeated: bool) -> None:
        """It was answered with this status; repeated: as an earlier one was, and nothing was done for it now."""
        ...


class Guard:
    """ASGI middleware, outermost. Refusals are problem documents; the access log never holds headers or queries.

    who: who asks, or a Problem; called in a thread, before anything of the body is read. What it returns is
    `request.state.principal`, which is not there where nobody need say who they are: `OPEN`, and what begins a session.
    watch: while the request is served, by its scope and id; what it gives sees what becomes of it.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        bodies: BodyReader,
        hosts: Sequence[str],
        who: Callable[[Asked], object | None],
        watch: Callable[[Scope, str], AbstractContextManager[Witness]],
    ) -> None:
        self.app = app
        self.watch = watch
        self.bodies = bodies
        self.hosts = frozenset(host.lower() for host in hosts)
        self.who = who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        visit = _Visit(scope, headers, receive, send)
        before = trace.received(headers.getlist(trace.HEADER))
        with spans.span(visit.method, before, kind="server", attributes=visit.facts()) as span:
            visit.trace = span.trace
            with about(request_id=visit.id, trace_id=span.trace.id), self.watch(scope, visit.id) as witness:
                await self._take(visit, witness)
                await witness.ended(visit.status or 500, repeated=visit.repeated)
            visit.tell(span)

    async def _take(self, visit: _Visit, witness: Witness) -> None:
        """Answer, whatever happens."""
        try:
            await self._handle(visit, witness)
        except ClientDisconnect:
            visit.status = GONE
        except asyncio.CancelledError:  # the server ends, and has waited for this request as long as it would
            await visit.refuse(Unavailable("the API is being stopped; try again", headers={"Retry-After": "1"}))
        except Exception as error:
            if visit.status is not None and not isinstance(error, Problem):
                raise  # half of an answer is out: all that is left is to cut the connection
            await visit.refuse(problem_of(error))
        finally:
            visit.log()

    async def _handle(self, visit: _Visit, witness: Witness) -> None:
        scope, headers = visit.scope, visit.headers
        self._check_host(scope, headers)
        receive = visit.receive
        if is_open(scope["path"]):  # nothing there takes a body, so nobody has one read without a token
            await self.app(scope, receive, visit.answer)
            return
        caller = await run_in_threadpool(self.who, _asked(scope, headers))
        if caller is not None:
            scope["state"]["principal"] = caller
        if scope["method"] in ("POST", "PUT", "PATCH", "DELETE"):
            body = await self.bodies.read(scope["path"], headers, receive)
            visit.unread = False
            await self.bodies.check(scope["path"], body)
            await witness.begins(body)
            if body and scope["path"] not in FORMS:
                scope["headers"] = _as_json(scope["headers"])
            receive = _replay(body, receive)
        await self.app(scope, receive, visit.answer)

    def _check_host(self, scope: Scope, headers: Headers) -> None:
        """A page that points its own name at this address (DNS rebinding) sends that name."""
        if "*" in self.hosts or scope["path"] in BY_ADDRESS:
            return
        host = headers.get("host", "").lower()
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if name not in self.hosts:
            raise BadRequest(f"host {name[:80]!r} is not served here; add it to AGON_ALLOWED_HOSTS")


class _Visit:
    """One request and its answer."""

    def __init__(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        given = headers.get("x-request-id", "")
        self.id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = self.id
        self.method = _method(scope["method"])
        self.trace: Trace | None = None
        self.scope, self.headers, self.receive = scope, headers, receive
        self.unread = announced(headers)
        """Whether the body, or a part of it, is still to come."""
        self.status: int | None = None
        """Of the answer, once it has begun."""
        self.repeated = False
        """Whether it is the answer to an earlier request with the same `Idempotency-Key`."""
        self._send, self._began = send, time.perf_counter()

    async def answer(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._tally(message["status"])
            headers = MutableHeaders(scope=message)
            self.repeated = "idempotency-replayed" in headers
            headers["X-Request-Id"] = self.id
            if self.trace is not None:
                headers[trace.ANSWERED] = str(self.trace)
            headers["X-Content-Type-Options"] = "nosniff"
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        """Answer with the problem, unless an answer has begun. What was not read of the body is not going to be."""
        if self.status is not None:
            return
        document = {**problem.document(), "request_id": self.id}
        headers = {**problem.headers, **({"Connection": "close"} if self.unread else {})}
        response = JSONResponse(document, problem.status, headers, MEDIA_TYPE)
        await self.answer(
            {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
        )
        await self.answer({"type": "http.response.body", "body": response.body, "more_body": self.unread})
        if self.unread:
            if not isinstance(problem, TooSlow):
                await drain(self.headers, self.receive)
            await self.answer({"type": "http.response.body", "body": b"", "more_body": False})

    def _tally(self, status: int) -> None:
        """By the route's template: a path has ids in it, and whoever asks for what there isn't chooses them freely."""
        seconds = time.perf_counter() - self._began
        tallies.REQUESTS.labels(self.method, self.route or "none", str(status)).observe(seconds)

    @property
    def route(self) -> str | None:
        """Its template, once it is found."""
        return getattr(self.scope.get("route"), "path", None)

    def facts(self) -> dict[str, Value]:
        """What a span has from its beginning (OpenTelemetry, semantic conventions for HTTP spans)."""
        return {"http.request.method": self.method, "url.path": self.scope["path"], "agon.request_id": self.id}

    def tell(self, span: Span) -> None:
        """The span how it ended."""
        status = self.status or 500
        known = {"http.route": self.route} if self.route else {}
        name = f"{self.method} {self.route}" if self.route else None
        span.set(
            {"http.response.status_code": status, **known}, name=name, error=str(status) if status >= 500 else None
        )

    def log(self) -> None:
        """One line of the access log."""
        facts = {"method": self.scope["method"], "path": self.scope["path"], "status": self.status or 500}
        milliseconds = round((time.perf_counter() - self._began) * 1e3, 1)
        access.info("request", extra={"facts": {**facts, "request_id": self.id, "ms": milliseconds}})


def _method(name: str) -> str:
    """A client may send any word as a method."""
    return name if name in METHODS else "other"


def is_open(path: str) -> bool:
    """Whether the path needs no token."""
    return any(path == known or path.startswith(f"{known}/") for known in OPEN)


def _asked(scope: Scope, headers: Headers) -> Asked:
    client = scope.get("client")
    return Asked(scope["method"], scope["path"], headers, client[0] if client else None)


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
