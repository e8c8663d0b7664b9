"""Problems as pages. What a browser asks for to look at is refused in words that a person reads, not in JSON."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.entry import COOKIE
from service.errors import MEDIA_TYPE
from service.web import frame
from service.web.frame import View

PROGRAMS = ("/v1", "/docs", "/openapi.json", "/metrics", "/healthz", "/readyz", "/static")
"""What programs ask for: they are told in JSON, whatever they say that they accept."""
SIGN_IN = "/sign-in"
AGAIN = View(title="One moment")


class Face:
    """ASGI middleware, around `service.http.Guard`: all else that has a face sees problem documents."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or not is_looked_at(Request(scope)):
            await self.app(scope, receive, send)
            return
        answer = _Answer(Request(scope), send)
        await self.app(scope, receive, answer.take)
        if (shown := answer.shown()) is not None:
            await shown(scope, receive, send)


def is_looked_at(request: Request) -> bool:
    """Whether a person is to see the answer."""
    path = request.url.path
    programs = any(path == known or path.startswith(f"{known}/") for known in PROGRAMS)
    return not programs and "text/html" in request.headers.get("accept", "")


class _Answer:
    """Lets everything pass but a problem document, which is kept."""

    def __init__(self, request: Request, send: Send) -> None:
        self._request, self._send = request, send
        self._problem: Message | None = None
        self._body = b""

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_problem(message):
            self._problem = message
        if self._problem is None:
            await self._send(message)
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")

    def shown(self) -> Response | None:
        """The problem as a person sees it; None: there was none."""
        if self._problem is None:
            return None
        document: dict[str, Any] = json.loads(self._body)
        if document["status"] == 401 and self._request.method in ("GET", "HEAD"):
            # The page asks for itself once more, and then it is this site that asks.
            again = _comes_from_elsewhere(self._request)
            response = (
                frame.page(self._request, None, "shell/again.html", AGAIN) if again else _to_sign_in(self._request)
            )
        else:
            response = self._page(document)
        kept = MutableHeaders(scope=self._problem)
        for name in ("x-request-id", "retry-after", "allow"):
            if name in kept:
                response.headers[name] = kept[name]
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    def _page(self, document: dict[str, Any]) -> Response:
        caller = getattr(self._request.state, "principal", None)
        view = View(title=document["title"])
        return frame.page(
            self._request, caller, "shell/problem.html", view, status=document["status"], problem=document
        )


def _is_problem(message: Message) -> bool:
    return MutableHeaders(scope=message).get("content-type", "").startswith(MEDIA_TYPE)


def _to_sign_in(request: Request) -> Response:
    """A browser that nobody has signed in with, or whose session has ended."""
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    where = SIGN_IN if asked == "/" else f"{SIGN_IN}?next={quote(asked, safe='')}"
    response = RedirectResponse(where, 303, {"Cache-Control": "no-store"})
    if COOKIE in request.cookies:  # of a session that has ended
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response


def _comes_from_elsewhere(request: Request) -> bool:
    """Whether a link of another site was followed: then a browser keeps the session's cookie, which is SameSite=Strict, to itself."""
    return request.headers.get("sec-fetch-site") == "cross-site" and COOKIE not in request.cookies
