"""What is said of the disk that the folders of runs lie on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.text import Text

from service.cli.output import err, size

if TYPE_CHECKING:
    from service.client import Client, Disk

LOOK_SECONDS = 2.0
"""For a look beside what was asked for."""


def warn(client: Client) -> None:
    """Say so if it is nearly full; nothing if it isn't, or if that can't be known at once."""
    from service.client import ClientError

    with suppress(ClientError):
        tell(client.disk(sizes=False, timeout=LOOK_SECONDS))


def tell(found: Disk) -> None:
    """Say so if it is nearly full."""
    if found.low:
        from service.cli.words import typed

        err.print(Text.assemble(("warning: ", "bold yellow"), typed(found.warning)))


def rows(found: Disk) -> Iterator[tuple[str, str, str]]:
    """The disk, and what takes it: lines of a table with total and free."""
    yield "disk", size(found.total), size(found.free)
    for name, taken in sorted((found.sizes or {}).items(), key=lambda item: -item[1]):
        if taken:
            yield f"  {name}", size(taken), ""
