# ruff: noqa: N818 — the names say what happened; the tree below says that they are errors
"""What can go wrong with the embedded stack.

StackError
├── PortsBusy      ports are taken; nothing was started
├── PartFailed     a part ended or was not ready in time; the rest was stopped again
└── StackLocked    another command is starting or stopping this stack
"""

from __future__ import annotations

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
    """A part ended or was not ready in time. `tail` is the end of its log."""

    def __init__(self, part: str, what: str, log: Path) -> None:
        self.part, self.log, self.tail = part, log, tail(log)
        super().__init__(f"{part} {what}; the end of {log}:\n{self.tail}")


class StackLocked(StackError):
    """Another command holds the stack."""


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log file; empty if there is none."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
