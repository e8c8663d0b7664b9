# ruff: noqa: N818 — the names say what happened; the tree below says that they are errors
"""What can go wrong with the embedded stack.

StackError
├── PortsBusy      ports are taken; nothing was started
├── PartFailed     a part ended again and again, or was not ready in time; those that are ready stay up
├── HomeUnusable   AGON_HOME is no folder that can be written to
└── StackLocked    another command is starting or stopping this stack
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from service.stack.ports import Busy

TAIL_LINES = 25


class StackError(Exception):
    """The stack could not be started or stopped."""


class PortsBusy(StackError):
    """Ports are taken. `busy` lists them."""

    def __init__(self, taken: list[Busy]) -> None:
        self.busy = taken
        super().__init__("\n".join(item.line() for item in taken))


class PartFailed(StackError):
    """A part ended or was not ready in time. `tail` is the end of its log, `up` the parts that are ready and stay."""

    def __init__(self, part: str, what: str, log: Path, up: Sequence[str] = ()) -> None:
        self.part, self.what, self.log, self.tail, self.up = part, what, log, tail(log), tuple(up)
        rest = (
            f"\n{' and '.join(up)} stay up: `agon up` starts what is missing, `agon down` stops the rest" if up else ""
        )
        super().__init__(f"{part} {what}; the end of {log}:\n{self.tail}{rest}")


class HomeUnusable(StackError):
    """AGON_HOME is no folder that we may write to."""

    def __init__(self, home: Path, why: OSError | str) -> None:
        reason = why if isinstance(why, str) else f"{why.filename or home}: {(why.strerror or str(why)).lower()}"
        super().__init__(
            f"AGON_HOME, {home}, can't be used: {reason}; choose a folder that you may write to: AGON_HOME=/path/to/it agon up"
        )


class StackLocked(StackError):
    """Another command holds the stack."""


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log file; empty if there is none."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
