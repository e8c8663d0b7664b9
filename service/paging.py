"""Keyset pagination: a cursor is the last row's number, so rows that arrive meanwhile neither repeat nor hide others."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from fastapi import Query

from service.errors import Invalid
from trainer.spec import FieldError

Limit = Annotated[int, Query(ge=1, le=200, description="Most items of a page.")]
Cursor = Annotated[str | None, Query(max_length=64, description="`next_cursor` of the page before.")]


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
