"""Arguments that several verbs take."""

from __future__ import annotations

from typing import Annotated

import typer

VERBS = (
    "submit", "list", "show", "watch", "trials", "edit", "stop", "cancel", "pause", "resume", "extend", "delete", "logs", "report", "init",
    "validate",
)  # fmt: skip
"""Below `agon search`, in the order of its help."""
SearchArgument = Annotated[
    str, typer.Argument(metavar="SEARCH", help="A search's id, or its name (then the newest of that name).")
]
File = Annotated[
    str, typer.Argument(metavar="FILE", help="A search in YAML or JSON (`agon search init RECIPE` prints one).")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="PATH=VALUE", help="Override a field, e.g. trials=8, base.train.images=5000. Repeatable."
    ),
]
