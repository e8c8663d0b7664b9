"""What the commands of `python -m trainer.publish` say, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trainer.errors import TrainingError

Json = Annotated[bool, typer.Option("--json", help='Print {"path": …, "model": …}.')]


def note(text: str) -> None:
    """A remark beside the output."""
    typer.secho(text, err=True, dim=True)


def make_folder(folder: Path) -> None:
    """Make a folder that something is written into, with a word if it wasn't there."""
    if not folder.is_dir():
        folder.mkdir(parents=True)
        note(f"made {folder}")


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal's stderr, which takes how many of how many are done; it is gone at the end."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class said:  # noqa: N801 — reads as a phrase
    """Errors that a person can act on end the command with their message alone."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (ValueError, OSError, TrainingError)):
            typer.secho(f"error: {error}", err=True, fg=typer.colors.RED)
            raise typer.Exit(1) from error
