"""ETags (RFC 9110, 8.8.3): what a client has already need not be sent again (`If-None-Match`), and nobody overwrites what they
haven't seen (`If-Match`).

What people change has an edition, which is its body's field `etag`. Its header `ETag` has two parts, `"EDITION.STATE"`, so that it
differs whenever the body does, also by progress or time, as a strong tag must. `If-Match` goes by the edition alone: what a
training has done meanwhile is nobody's change, and doesn't keep anyone from making one.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any

from fastapi import Header, Response

from service.bodies.base import Tagged
from service.errors import Invalid, PreconditionFailed
from trainer.spec import FieldError

FOREVER, ASK = "private, max-age=31536000, immutable", "private, no-cache"
"""As `Cache-Control`: of what never changes, and of what is asked for each time."""
WHATEVER = (None, "*")
"""An `If-Match` that goes by nothing."""
LENGTH = 16
"""Hex digits of a digest: two of a resource's states are alike by chance once in 2⁶⁴."""
IfNoneMatch = Annotated[
    str | None, Header(max_length=1000, description="The ETag that is known: 304 if it is still that.")
]
IfMatch = Annotated[
    str | None,
    Header(
        max_length=1000,
        description="An `etag`, or the ETag of a GET: 412 if someone has changed it since. `*`: whatever it is.",
    ),
]
UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "It is what that ETag stands for."}}
"""What such an endpoint answers, too, for the OpenAPI document."""
_TAG = r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")'
_TAGS = re.compile(rf"\s*{_TAG}\s*(,\s*{_TAG}\s*)*")


def matches(known: str | None, tag: str) -> bool:
    """Whether `If-None-Match` names the tag (in its quotes), compared weakly; `*` names any."""
    found = [part.strip().removeprefix("W/") for part in (known or "").split(",")]
    return "*" in found or tag in found


def edition(*what: Any) -> str:
    """The tag, in its quotes, of what people may change."""
    return f'"{_digest(json.dumps(what, sort_keys=True))}"'


def check(asked: str | None, now: str, what: str) -> None:
    """Raise PreconditionFailed unless `If-Match` is left out, is `*`, or names that edition, compared strongly.

    Raises Invalid for what is no list of tags. what: for a person.
    """
    if asked in WHATEVER:
        return
    if _TAGS.fullmatch(asked) is None:
        fix = f"send it with its quotes, as it came: If-Match: {now}"
        raise Invalid([FieldError(path="if-match", message="is no list of ETags", value=asked[:80], fix=fix)])
    strong = [tag for weak, tag in re.findall(_TAG, asked) if not weak]
    if now.strip('"') not in [tag.strip('"').partition(".")[0] for tag in strong]:
        raise PreconditionFailed(
            f"{what} is not what it was: someone has changed it since it had the etag {asked[:80]}; get it, see what is "
            f"different, and send your change with If-Match: {now}",
            headers={"ETag": now},
        )


def answer(body: Tagged, known: str | None = None) -> Response:
    """The body with its ETag, or 304 if the client has it."""
    content = body.model_dump_json(by_alias=True)
    headers = {"ETag": f'{body.etag[:-1]}.{_digest(content)}"', "Cache-Control": ASK}
    if matches(known, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type="application/json")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]
