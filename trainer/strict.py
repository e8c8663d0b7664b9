"""JSON as every database and language reads it alike. Imports nothing of the project."""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_DEPTH = 32
MAX_INTEGER = 2**63 - 1
MAX_DIGITS = 400
_BAD_TEXT = re.compile("[\0\ud800-\udfff]")


def loads(text: bytes | str) -> Any:
    """The value. Raises ValueError, which says what is wrong.

    Refused: NaN and infinities, integers beyond 64 bits, nesting deeper than 32, NUL and lone surrogates, repeated keys.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_int=integer, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError(f"is nested deeper than {MAX_DEPTH}") from None
    check(value)
    return value


def check(value: Any, depth: int = 0) -> None:
    """Raises ValueError for what :func:`loads` refuses of a value."""
    if depth > MAX_DEPTH:
        raise ValueError(f"is nested deeper than {MAX_DEPTH}")
    if isinstance(value, str):
        if _BAD_TEXT.search(value):
            raise ValueError("a string holds NUL or half of a surrogate pair; remove it")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is too large for a 64-bit float")
    elif isinstance(value, dict):
        for key, item in value.items():
            check(key, depth)
            check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            check(item, depth + 1)


def integer(text: str) -> int:
    """Raises ValueError beyond 64 bits."""
    if len(text) > MAX_DIGITS or abs(int(text)) > MAX_INTEGER:
        raise ValueError(f"integer {text[:20]}… does not fit 64 bits")
    return int(text)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number; leave the field out or use null")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same key twice")
    return found
