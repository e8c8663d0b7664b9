"""`Range: bytes=…` of RFC 9110, 14: one range. More than one, or what is no range, means all, as the RFC allows."""

from __future__ import annotations

import re

from service.errors import Unsatisfiable

_RANGE = re.compile(r"^bytes=(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))$", re.ASCII)


def span(given: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last; None: all of it. Raises Unsatisfiable if no byte lies in the range."""
    match = _RANGE.match(given.replace(" ", "")) if given is not None else None
    if match is None:
        return None
    first, last, suffix = (int(found) if found is not None else None for found in match.groups())
    if suffix is not None:
        begin, end = max(0, size - suffix), size
    else:
        begin, end = first or 0, size if last is None else min(last + 1, size)
        if last is not None and last < begin:
            return None
    if begin >= end:
        raise Unsatisfiable(
            f"there are {size} bytes, and none of them lies in {given!r:.60}",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return begin, end
