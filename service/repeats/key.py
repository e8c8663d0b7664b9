"""The header `Idempotency-Key`: which request this is, in its sender's words.

draft-ietf-httpapi-idempotency-key-header-07, section 2.1: a String of RFC 9651, section 3.3.3, in quotes. A bare word is taken, too.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from starlette.datastructures import Headers

from service.errors import BadRequest, Invalid
from trainer.spec import FieldError

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
"""Of an answer that was given before."""
LONGEST = 255
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_BARE = re.compile(r"[\x21\x23-\x7e][\x21-\x7e]*")
_FIX = f'send 1 to {LONGEST} printable ASCII characters, in quotes or without blanks: {HEADER}: "8e03978e-40d5-43dd"'


def read(headers: Headers) -> str | None:
    """The key, without its quotes; None without one. Raises BadRequest."""
    given = headers.getlist(HEADER)
    if not given:
        return None
    if len(given) > 1:
        raise BadRequest(f"{HEADER} is there {len(given)} times; send one")
    key = parse(given[0])
    if key is None:
        raise BadRequest(f"{HEADER} {given[0][:80]!r} is no key; {_FIX}")
    return key


def parse(text: str) -> str | None:
    """`"a"` and `a` are the same key; None for what is none."""
    text = text.strip(" \t")
    quoted = _QUOTED.fullmatch(text)
    if quoted is not None:
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    elif _BARE.fullmatch(text):
        key = text
    else:
        return None
    return key if 1 <= len(key) <= LONGEST else None


async def _key(request: Request) -> str | None:
    """What `service.repeats.guard` has read."""
    found: str | None = request.state.idempotency_key
    return found


Key = Annotated[str | None, Depends(_key)]
"""For an endpoint that keeps it itself."""


def once(request: Request, told: str) -> None:
    """The answer holds a secret, and is not kept: a repeat is answered 409 with `told`, which says what was made and what to do."""
    request.state.told_of_secret = told


def other_body(
    made: str = "came with another body before", fix: str = "send what it came with, or a new key"
) -> Invalid:
    """The key stands for another request."""
    return Invalid([FieldError(path=HEADER, message=made, fix=fix)])


def describe(app: FastAPI, hours: float) -> None:
    """Put the header into the OpenAPI document, for every POST."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            for item in plain()["paths"].values():
                if "post" in item:
                    item["post"].setdefault("parameters", []).append(_parameter(hours))
        return plain()

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _parameter(hours: float) -> dict[str, Any]:
    about = (
        f"Names this request: sent again with the same body, within {hours:g} hours, it is answered again and not done again. "
        f"In quotes, as a String of RFC 9651, or bare; up to {LONGEST} characters."
    )
    schema = {"type": "string", "minLength": 1, "maxLength": 2 * LONGEST + 2}
    return {"name": HEADER, "in": "header", "required": False, "description": about, "schema": schema}
