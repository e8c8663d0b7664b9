"""What the commands of `python -m trainer.publish` say, and how."""

from __future__ import annotations

from typing import Annotated

import typer

from trainer.errors import TrainingError

Json = Annotated[bool, typer.Option("--json", help='Print {"path": …, "model": …}.')]


def note(text: str) -> None:
    """A remark beside the output."""
    typer.secho(text, err=True, dim=True)


class said:  # noqa: N801 — reads as a phrase
    """Errors that a person can act on end the command with their message alone."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (ValueError, OSError, TrainingError)):
            typer.secho(f"error: {error}", err=True, fg=typer.colors.RED)
            raise typer.Exit(1) from error
