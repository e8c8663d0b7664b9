"""Keyset pagination: a cursor is the last row's number, so rows that arrive meanwhile neither repeat nor hide others."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Protocol, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response

from service.errors import Invalid
from trainer.spec import FieldError

Limit = Annotated[int, Query(ge=1, le=200, description="Most items of a page.")]
Cursor = Annotated[str | None, Query(max_length=64, description="`next_cursor` of the page before.")]


class Paged(Protocol):
    """One page."""

    @property
    def next_cursor(self) -> str | None:
        """Where the next one begins; None: there is none."""


P = TypeVar("P", bound=Paged)


class Onwards:
    """Tells where a list goes on as the header `Link`, too (RFC 8288, section 3): the same query with the cursor of the next page.

    The reference is relative, a query alone (RFC 3986, section 4.2): it holds behind any proxy, whatever that calls this path.
    """

    def __init__(self, request: Request, response: Response) -> None:
        self._asked, self._response = request.query_params.multi_items(), response

    def __call__(self, page: P) -> P:
        """The same page."""
        if page.next_cursor is not None:
            kept = [(name, value) for name, value in self._asked if name != "cursor"]
            query = urlencode([*kept, ("cursor", page.next_cursor)])
            self._response.headers["Link"] = f'<?{query}>; rel="next"'
        return page


async def onwards(request: Request, response: Response) -> Onwards:
    """The request's."""
    return Onwards(request, response)


Onward = Annotated[Onwards, Depends(onwards)]


def encode(number: int) -> str:
    """The cursor that continues after `number`."""
    return base64.urlsafe_b64encode(str(number).encode()).decode().rstrip("=")


def decode(cursor: str | None) -> int | None:
    """Raises Invalid for anything that `encode` didn't make."""
    if cursor is None:
        return None
    try:
        number = int(base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        number = -1
    if not 0 <= number < 2**63 or encode(number) != cursor:
        raise Invalid(
            [FieldError(path="cursor", message="is no cursor of this API", fix="use next_cursor as it was given")]
        )
    return number
