"""Before something is removed for good, and after it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from service.cli.output import Exit, fail, note


def sure(what: str, mlflow: bool, yes: bool) -> None:
    """Ask, on a terminal. Ends the command unless the answer is yes."""
    if yes or not sys.stdin.isatty():
        return
    there = " and its records in MLflow" if mlflow else ""
    if not typer.confirm(f"Delete {what}{there}? This can't be undone.", err=True):
        raise typer.Exit(Exit.FAILED)


def told(what: str, left: Sequence[str]) -> None:
    """Say that it is deleted. Ends the command with an error if something of it is left."""
    if left:
        fail(
            f"{what} is deleted, but something of it is left: {'; '.join(left)}. The same command again goes on with it",
            Exit.FAILED,
        )
    note(f"{what} is deleted")
