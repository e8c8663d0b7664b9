"""Writes docs/cli.md from the `agon` command itself: `python -m service.cli.doc`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import typer

from service.cli.app import CHILDREN, EPILOG, GROUPS, VERBS, app
from service.cli.search import app as search

TARGET = Path(__file__).parents[2] / "docs" / "cli.md"
HEAD = """\
# The `agon` command

Generated from the command's own help by `make docs`; don't edit it by hand. `agon VERB --help` says the same;
`python -m service.cli` is the same command. `agon --install-completion` teaches your shell to complete verbs and options
(bash, zsh, fish, PowerShell); `agon --show-completion` prints what it would add.

"""
PASSED_ON = "Its options are the trainer's own: `agon {name} --help`.\n"


def render() -> str:
    """The whole page."""
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    parts = [HEAD + EPILOG.replace(" · ", "\n- ").replace(": 0", ":\n\n- 0").replace(": AGON", ":\n\n- AGON") + "\n"]
    for panel, verbs in VERBS.items():
        parts.append(f"## {panel}\n")
        parts += [_verb(verb.__name__, commands[verb.__name__]) for verb in verbs]
        for group in GROUPS.get(panel, ()):
            parts.append(f"### agon {group.name}\n\n{group.help}")
            parts += [_verb(f"{group.name} {name}", commands[group.name].commands[name]) for name in group.verbs]
    parts.append(f"## Searches\n\n{search.HELP}")
    parts += [_verb(f"search {name}", commands["search"].commands[name]) for name in search.COMMANDS]
    parts.append("## Data, training and models\n")
    parts += [_section(verb.__name__, verb) + PASSED_ON.format(name=verb.__name__) for verb in CHILDREN]
    return "\n".join(parts)


def _verb(name: str, command: Any) -> str:
    rows = [row for row in (_row(parameter) for parameter in command.params) if row]
    table = "\n".join(["| argument, option | default | meaning |", "|---|---|---|", *rows]) + "\n" if rows else ""
    return _section(name, command.callback) + table


def _section(name: str, function: Any) -> str:
    return f"### agon {name}\n\n{inspect.getdoc(function)}\n\n".replace("\n    - ", "\n- ")


def _row(parameter: Any) -> str:
    if parameter.name == "help":
        return ""
    names = (
        ", ".join(f"`{option}`" for option in parameter.opts)
        if parameter.opts[0].startswith("-")
        else f"`{parameter.metavar or parameter.name.upper()}`"
    )
    shown = "required" if parameter.required else _default(parameter.default)
    cells = (names, shown, parameter.help or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(value: object) -> str:
    return "" if value is None or value is False or not isinstance(value, str | int) else f"`{value}`"


def main() -> None:
    """Command line."""
    TARGET.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
