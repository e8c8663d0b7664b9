"""HTTP on its way in and out: whose token it is, how long a body may be, what a refusal looks like. Torch-free."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from trainer.schema import Frozen
from trainer.serve.refusals import RefusedError, WrongError, wrong
from trainer.serve.wire import MOST_BODY, QUESTION_HEADER, TOKEN_HEADER, Reason, Refusal
from trainer.spec.explain import explain

Q = TypeVar("Q", bound=Frozen)
SMALL = 1 << 16
"""Bytes of a body that is read on the event loop."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What was asked for."""

    body: bytes
    media_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


async def through(request: Request, token_digest: str, answer: Callable[[], Awaitable[Answer]]) -> Response:
    """The answer, or why there is none; no body is read of whom the application doesn't know. What went wrong inside is logged, not told."""
    try:
        if not _known(request, token_digest):
            raise RefusedError(Reason.STRANGER, "the token is not this application's")
        if request.method != "POST":
            raise RefusedError(Reason.MISSING, "questions are put by POST")
        found = await answer()
        return Response(found.body, media_type=found.media_type, headers=dict(found.headers))
    except RefusedError as error:
        return refused(error.refusal)
    except ClientDisconnect:
        return Response(status_code=499)  # nobody reads it
    except Exception:
        _log.exception("no answer to %s", request.url.path)
        return refused(Refusal(reason=Reason.BROKEN, message="this question failed inside; the replica's log says why"))


def refused(refusal: Refusal) -> Response:
    """A refusal as HTTP."""
    after = refusal.retry_after
    headers = {} if after is None else {"Retry-After": str(math.ceil(after))}
    return Response(refusal.model_dump_json(), refusal.reason.status, headers, "application/json")


async def question(request: Request, kind: type[Q], most: int = MOST_BODY) -> Q:
    """The body as what it has to be. Raises RefusedError that names each field."""
    given = request.headers.get(QUESTION_HEADER)
    body = await _body(request, most) if given is None else given.encode("latin-1")
    try:
        if len(body) <= SMALL:
            return kind.model_validate_json(body)
        return await asyncio.to_thread(kind.model_validate_json, body)
    except ValidationError as error:
        raise WrongError(explain(error, kind)) from None


def _known(request: Request, token_digest: str) -> bool:
    token = request.headers.get(TOKEN_HEADER, "").removeprefix("Bearer ")
    return hmac.compare_digest(hashlib.sha256(token.encode()).hexdigest(), token_digest)


async def _body(request: Request, most: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise wrong("body", f"is longer than {most:,} bytes", "send fewer or smaller images")
        parts.append(part)
    return b"".join(parts)
