"""How the command prints: data on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.figures import seconds, size
from trainer.plain import plain
from trainer.spec import FieldError

__all__ = [
    "STATE_STYLES",
    "Exit",
    "ago",
    "err",
    "fail",
    "note",
    "out",
    "print_facts",
    "print_json",
    "print_table",
    "seconds",
    "size",
    "state",
    "until",
    "write_whole",
]  # fmt: skip
PIPE_WIDTH = 240  # a pipe has no width; tables must not be cut to a guess
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPE_WIDTH)
err = Console(stderr=True, highlight=False, soft_wrap=True)

STATE_STYLES = {
    "submitted": "cyan", "queued": "cyan", "starting": "cyan", "running": "blue", "stopping": "yellow",
    "succeeded": "green", "failed": "red", "cancelled": "yellow", "stopped": "dim", "unresponsive": "red",
    "paused": "yellow", "pending": "cyan", "completed": "green", "diverged": "red",
}  # fmt: skip


class Exit(IntEnum):
    """Exit codes."""

    OK = 0
    FAILED = 1  # the thing itself failed: a job, a part of the stack, a child process
    USAGE = 2  # a wrong argument or an invalid spec; nothing was done
    UNREACHABLE = 3  # no API, or no token for it
    REFUSED = 4  # the API refused: not found, not in this state, not allowed
    INTERRUPTED = 130


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that was fetched: whoever looks sees all of it or what was there before. Makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_bytes(content)
    aside.replace(path)


def print_json(value: Any) -> None:
    """One JSON document on stdout, and nothing else."""
    sys.stdout.write(json.dumps(value, indent=2, default=_plain) + "\n")


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> None:
    """A plain table; `empty` goes to stderr if there are no rows."""
    if not rows:
        err.print(empty, style="dim")
        return
    table = Table(*columns, box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    out.print(table)


def print_facts(facts: Iterable[tuple[str, Text | str]]) -> None:
    """Names and values, one a line, without those that are empty; further lines of a value stand below its first."""
    rows = [(name, value) for name, value in facts if value]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        shown = plain(value).replace("\n", f"\n{'':<{width}}  ") if isinstance(value, str) else value
        out.print(Text.assemble((f"{name:<{width}}  ", "bold"), shown))


def state(name: str) -> Text:
    """A state in its colour."""
    return Text(name, STATE_STYLES.get(name, ""))


def note(text: str) -> None:
    """Something to know, on stderr."""
    err.print(Text(text, "dim"))


def fail(message: str, code: Exit, errors: Sequence[FieldError] = ()) -> NoReturn:
    """One clear line, the wrong fields below it, and out."""
    err.print(Text.assemble(("error: ", "bold red"), message))
    for error in errors:
        err.print(Text.assemble("  ", (error.path or "spec", "bold"), f": {error.message}", *_given(error)))
        if error.fix:
            err.print(Text.assemble("      → ", error.fix))
    raise typer.Exit(code)


def hand_on(app: typer.Typer, words: Sequence[str], program: str) -> None:
    """Run a command of its own with these words, as part of this one: its errors and its exit code are this one's."""
    code = typer.main.get_command(app).main(list(words), prog_name=program, standalone_mode=False)
    if code:
        raise typer.Exit(code)


def _given(error: FieldError) -> tuple[tuple[str, str], ...]:
    return ((f" (got {error.value})", "dim"),) if error.value else ()


def until(moment: datetime | None) -> str:
    """In how long; empty for None."""
    return "" if moment is None else f"in {seconds(max(0.0, (moment - datetime.now(UTC)).total_seconds()))}"


def ago(moment: datetime | None) -> str:
    """How long ago; `–` for None."""
    return "–" if moment is None else f"{seconds((datetime.now(UTC) - moment).total_seconds())} ago"
