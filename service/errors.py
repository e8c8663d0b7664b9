"""Errors that reach a client, as RFC 9457 problem documents. Endpoints raise them; nothing else formats errors.

Problem
├── BadRequest            400  the request can't be read
├── Unauthenticated       401  no token, or an unknown one
├── Forbidden             403  the token may not do this
├── NotFound              404
├── Conflict              409  not in this state, or the name is taken
│   └── UnderWay          409  the same request is being done
├── TooSlow               408
├── PreconditionFailed    412  it is not what it was when whoever changes it saw it
├── TooLarge              413
├── Invalid               422  names every wrong field, with the fix
├── TooMany               429  of such requests are under way
├── Unavailable           503  Ray, MLflow, the database, or the server that has the data can't be reached
└── Late                  504  it took longer than it may
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.routing import Match

from trainer.spec import FieldError

MEDIA_TYPE = "application/problem+json"
BUSY = (OperationalError, PoolTimeout)
"""The database is down or locked, or all connections to it are in use: the client may try again."""
NOT_CONFIGURED = {"Retry-After": "3600"}
"""Headers of what is not there until someone configures it."""
MOST_ERRORS = 100
"""Wrong fields that one answer names: more are no mistake of a person."""
logger = logging.getLogger("agon.api")


class Problem(Exception):  # noqa: N818 — RFC 9457's word, and so are its children's
    """Base. `detail` says what was wrong and what to do; `errors` names the fields."""

    status: ClassVar[int] = 500
    name: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    retry_after: ClassVar[str] = ""
    """Seconds, as the header says unless `headers` do; empty: trying again changes nothing."""

    def __init__(
        self, detail: str, errors: Sequence[FieldError] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = list(errors)
        self.headers = ({"Retry-After": self.retry_after} if self.retry_after else {}) | dict(headers or {})

    def document(self) -> dict[str, Any]:
        """The problem document."""
        return {
            "type": f"urn:agon:problem:{self.name}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "errors": [error.model_dump() for error in self.errors],
        }


class BadRequest(Problem):
    """The request can't be read."""

    status, name, title = 400, "bad-request", "Bad request"


class Unauthenticated(Problem):
    """No token, or one that isn't known."""

    status, name, title = 401, "unauthenticated", "Token required"

    def __init__(self, detail: str, *, invalid: bool = False) -> None:
        challenge = 'Bearer realm="agon"' + (', error="invalid_token"' if invalid else "")
        super().__init__(detail, headers={"WWW-Authenticate": challenge})


class Forbidden(Problem):
    """The token may not do this."""

    status, name, title = 403, "forbidden", "Not allowed"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer realm="agon", error="insufficient_scope"'})


class NotFound(Problem):
    """No such thing."""

    status, name, title = 404, "not-found", "Not found"


class Conflict(Problem):
    """The thing's state, or another thing with that name, forbids it."""

    status, name, title = 409, "conflict", "Conflict"


class UnderWay(Conflict):
    """The same request is being done."""

    name, title, retry_after = "under-way", "Under way", "1"


class TooSlow(Problem):
    """The body took too long."""

    status, name, title = 408, "too-slow", "Body too slow"


class PreconditionFailed(Problem):
    """Someone has changed it since whoever wants to change it saw it."""

    status, name, title = 412, "precondition-failed", "Changed meanwhile"


class TooLarge(Problem):
    """The body is larger than allowed."""

    status, name, title = 413, "too-large", "Body too large"


class Unsatisfiable(Problem):
    """A part was asked for that lies outside of the whole."""

    status, name, title = 416, "unsatisfiable", "Range not satisfiable"


class Invalid(Problem):
    """Fields are wrong; `errors` names them all."""

    status, name, title = 422, "invalid", "Invalid"

    def __init__(self, errors: Sequence[FieldError], what: str = "request") -> None:
        errors = errors[:MOST_ERRORS]
        lines = "; ".join(error.line() for error in errors[:3])
        more = f" (and {len(errors) - 3} more)" if len(errors) > 3 else ""
        super().__init__(f"the {what} is not valid: {lines}{more}", errors)


class Unavailable(Problem):
    """A part that this request needs can't be reached."""

    status, name, title = 503, "unavailable", "Unavailable"
    retry_after = "30"


class TooMany(Problem):
    """More of such requests than may be under way at once."""

    status, name, title = 429, "too-many", "Too many"
    retry_after = "1"


class Late(Problem):
    """What was asked for took longer than it may."""

    status, name, title = 504, "late", "Took too long"
    retry_after = "30"


class Document(BaseModel):
    """RFC 9457 problem document."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []
    request_id: str = ""


RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "Problem", "model": Document, "content": {MEDIA_TYPE: {}}},
    "5XX": {"description": "Problem", "model": Document, "content": {MEDIA_TYPE: {}}},
}
"""What every endpoint may answer, for the OpenAPI document."""


def _respond(request: Request, document: dict[str, Any], headers: Mapping[str, str] | None = None) -> JSONResponse:
    document["request_id"] = getattr(request.state, "request_id", "")
    return JSONResponse(document, document["status"], dict(headers or {}), media_type=MEDIA_TYPE)


async def _on_problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)  # noqa: S101 — registered for Problem alone
    return _respond(request, error.document(), error.headers)


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    """Starlette's own: no route, wrong method, unreadable body."""
    assert isinstance(error, HTTPException)  # noqa: S101
    document = {
        "type": "about:blank",
        "title": str(error.detail),
        "status": error.status_code,
        "detail": f"{request.method} {request.url.path}: {error.detail}",
        "errors": [],
    }
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_methods(request)))
    return _respond(request, document, headers)


def _methods(request: Request) -> set[str]:
    """Those of all routes of the path: Starlette names the first one's alone."""
    found: set[str] = set()
    for route in request.app.state.routes:
        match, _ = route.matches(request.scope)
        if match is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return found


async def _on_validation(request: Request, error: Exception) -> JSONResponse:
    """A query, path or body that doesn't fit the endpoint's schema."""
    assert isinstance(error, RequestValidationError)  # noqa: S101
    fields = [
        FieldError(
            path=".".join(str(part)[:100] for part in item["loc"][1:] if not _is_tag(part)),
            message=str(item["msg"]).removeprefix("Value error, ")[:1000],
            value=_short(item),
        )
        for item in error.errors()[:MOST_ERRORS]
    ]
    return _respond(request, Invalid(fields).document())


def problem_of(error: Exception) -> Problem:
    """What a client is told of the error. What may hold SQL, paths or values goes to the log only."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, BUSY):
        logger.error("database", exc_info=error)
        return Unavailable("the database can't be reached or is busy; try again", headers={"Retry-After": "1"})
    logger.error("unhandled", exc_info=error)
    return Problem("something went wrong here; the server's log has the request id")


def _is_tag(part: object) -> bool:
    """Whether it names no field, but which member of a union was meant, in brackets."""
    return isinstance(part, str) and part.startswith("(") and part.endswith(")")


def _short(item: Mapping[str, Any]) -> str:
    value = item.get("input")
    if value is None or isinstance(value, bytes | dict | list):
        return ""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def install(app: FastAPI) -> None:
    """Register the handlers; what they don't take, `service.http.Guard` does by `problem_of`."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
