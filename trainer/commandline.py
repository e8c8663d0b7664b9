"""Commands of the trainer, as `agon` runs them in processes of their own: with the name that was typed, `-h`, and help that wraps."""

from __future__ import annotations

import os
from typing import Any

import typer

PROGRAM = "AGON_PROGRAM"
"""Environment variable: what was typed to get this command, `agon data`. It is for this process alone."""
CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"]}
"""Settings of every command; a group's hold for its verbs."""


def program(**options: Any) -> typer.Typer:
    """A command or group of them. Its help is Markdown: paragraphs wrap to the terminal, and square brackets stay."""
    return typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings=CONTEXT,
        **options,
    )


def run(app: typer.Typer, module: str) -> None:
    """Run the command line of `python -m module` and exit."""
    app(prog_name=os.environ.pop(PROGRAM, "") or f"python -m {module}")
