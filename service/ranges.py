"""`Range: bytes=…` of RFC 9110, 14: one range. More than one, or what is no range, means all, as the RFC allows."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Header

from service.errors import Unsatisfiable
from service.etags import ASK

Range = Annotated[
    str | None, Header(alias="Range", max_length=100, description="`bytes=N-`: the rest of an archive that broke off.")
]
IfRange = Annotated[
    str | None,
    Header(max_length=1000, description="The ETag of the archive that broke off: of another one all is sent."),
]
TAR = "application/x-tar"
ARCHIVE: dict[int | str, dict[str, Any]] = {
    200: {"content": {TAR: {}}},
    206: {"description": "The part that was asked for.", "content": {TAR: {}}},
}
"""What an endpoint of an archive answers, for the OpenAPI document."""

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


def attached(
    file: str, tag: str, size: int, asked: str | None, only_if: str | None
) -> tuple[int, int, int, dict[str, str]]:
    """Status, first byte, the one behind the last, and headers of an archive, or of the part of it that is asked for, `only_if` it is
    still that one. file: its name for whoever saves it. Raises Unsatisfiable."""
    quoted = f'"{tag}"'
    part = span(asked, size) if only_if in (None, quoted) else None
    begin, end = part or (0, size)
    headers = {
        "ETag": quoted,
        "Cache-Control": ASK,
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="{file}"',
        "Content-Length": str(end - begin),
    }
    if part is None:
        return 200, begin, end, headers
    return 206, begin, end, {**headers, "Content-Range": f"bytes {begin}-{end - 1}/{size}"}
