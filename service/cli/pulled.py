"""agon pull through the API: for whoever has a token and no way to MLflow; this machine needs no torch and no mlflow."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from service.cli.output import Exit, fail, hand_on, print_json
from service.cli.specs import Json

FLAG = "--api"
app = typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False)
_NAME = re.compile(r"^(?:models:/)?([A-Za-z0-9][A-Za-z0-9._-]*)(?:[@/]([A-Za-z0-9._-]+))?$")


def wanted(words: list[str]) -> bool:
    """Whether the API is asked: it is said so, or it is named (AGON_URL) and no MLflow is."""
    named = any(os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "AGON_MLFLOW_URI"))
    return FLAG in words or bool(os.environ.get("AGON_URL") and not named and not {"-h", "--help"} & set(words))


@app.command()
def pull(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="NAME (its champion), NAME@alias or NAME/version in the registry.")
    ],
    out: Annotated[
        Path, typer.Argument(metavar="DIR|FILE.tar", help="Folder to make, which must not exist, or a tar.")
    ],
    json_: Json = False,
) -> None:
    """Download a model through the API: `agon pull MODEL OUT --api`.

    Each file is proved by its SHA-256 as it comes. A download that breaks off goes on by itself; nothing is there before all is.

    Example: `agon pull demo@champion ./demo --api`
    """
    found = _NAME.match(model)
    if found is None:
        raise typer.BadParameter(f"{model!r} is no model; write NAME, NAME@alias or NAME/version", param_hint="MODEL")
    from service.client import Client

    with Client() as client:
        try:
            path = client.pull(found[1], found[2], to=out)
        except FileExistsError as error:
            fail(str(error), Exit.USAGE)
    if json_:
        print_json({"model": model, "path": str(path)})
    else:
        typer.echo(str(path))


def run(words: list[str]) -> None:
    """`agon pull` with these words."""
    hand_on(app, [word for word in words if word != FLAG], "agon pull")
