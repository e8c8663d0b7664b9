"""Arguments that several verbs take, and their client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from service.client import Client

SearchArgument = Annotated[
    str, typer.Argument(metavar="SEARCH", help="A search's id, or its name (then the newest of that name).")
]
File = Annotated[
    str, typer.Argument(metavar="FILE", help="A search in YAML or JSON (`agon search init RECIPE` prints one).")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="PATH=VALUE", help="Override a field, e.g. samples=8, base.train.images=5000. Repeatable."
    ),
]


def connect() -> Client:
    """A client of the API that the environment names."""
    from service.client import Client

    return Client()
