"""agon search submit, watch, init, validate."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from service.cli.arguments import connect
from service.cli.output import Exit, err, note, out, print_json
from service.cli.search.arguments import VERBS, File, SearchArgument, Set
from service.cli.specs import Json

if TYPE_CHECKING:
    from service.client import Client, Search


def submit(
    file: File,
    set_: Set = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the search until it has ended.")] = False,
    json_: Json = False,
) -> None:
    """Submit a search; `agon search FILE` is the short form. Ctrl-C while watching leaves it running.

    Without --watch the search's id alone goes to stdout. Relative data paths are taken from the current folder.

    Examples:

    - `agon search search.yaml --watch`
    - `agon search search.yaml --set trials=32 --set base.train.images=50000`
    - `agon search submit search.yaml --set 'space.optimizers.G.lr={loguniform: [1e-4, 1e-3]}'`
    """
    from service.cli.search.source import read

    found = read(file, set_ or (), VERBS)
    with connect() as client:
        search = client.search(found.body())
        if not json_ and found.search.combinations is not None:
            note(found.search.extent)
        if not watch:
            if json_:
                print_json(search.model_dump(mode="json"))
                return
            out.print(search.id)
            note(f"follow it: agon search watch {search.id}   its trials: agon search trials {search.id}")
            return
        err.print(Text.assemble("submitted ", (search.id, "bold")))
        _follow(client, search, json_)


def watch(search: SearchArgument, json_: Json = False) -> None:
    """Follow a search with a live table of its trials, best first, until it has ended or is paused.

    Ctrl-C leaves it running. Exit code 1 unless it succeeds; then the best trial goes to stdout, or the model it became.

    Examples:

    - `agon search watch digits-lr`
    """
    from service.cli.search.source import find

    with connect() as client:
        _follow(client, find(client, search), json_)


def init(recipe: Annotated[str, typer.Argument(help="Name of a recipe (see `agon recipes`).")]) -> None:
    """Print a search over a recipe's learning rates, every field explained. Works without a running stack.

    Examples:

    - `agon search init dcgan-digits > search.yaml`
    """
    from service.cli.search.template import template
    from service.cli.source import unknown_recipe
    from trainer.families.table import recipes

    found = recipes().get(recipe)
    if found is None:
        raise unknown_recipe(recipe)
    sys.stdout.write(template(recipe, found()))


def validate(
    file: File,
    set_: Set = None,
    offline: Annotated[bool, typer.Option("--offline", help="Don't ask the API, also if it is up.")] = False,
    json_: Json = False,
) -> None:
    """Check a search, and print what it resolves to with --json. Exit code 2 and every wrong field if it is invalid.

    Examples:

    - `agon search validate search.yaml`
    """
    from service.cli.search.source import read

    found = read(file, set_ or (), VERBS)
    resolved, by = found.body(), "here; no API was asked"
    if not offline:
        from service.client import Client, NotConfigured, Unreachable

        try:
            with Client(patience=0.0) as client:
                resolved = client.validate_search(found.body()).model_dump(mode="json")
                by = f"here and by {client.url}"
        except (NotConfigured, Unreachable) as error:
            if isinstance(error, Unreachable):
                note(str(error))
    if json_:
        print_json(resolved)
        return
    search = found.search
    err.print(Text.assemble(("valid", "bold green"), f" (checked {by})"))
    note(
        f"{search.name}: {search.algorithm} over {', '.join(search.space)}; {search.extent}; each a {search.base.name} of"
        f" at most {search.base.train.images:,} images; {'lowest' if search.minimises else 'highest'} {search.metric} wins"
    )


def _follow(client: Client, search: Search, json_: bool) -> None:
    from service.cli.search.watch import watch as follow

    with _leaving(search):
        ended = follow(client, search)
    if json_:
        print_json(ended.model_dump(mode="json"))
    elif ended.model:
        version = "@champion" if ended.model.champion else f"/{ended.model.version}"
        out.print(f"models:/{ended.model.name}{version}")
    elif ended.best:
        out.print(f"{ended.id}/{ended.best.id}")
    if ended.best and not json_:
        note(f"train it for longer: agon submit --from-trial {ended.id}/{ended.best.id}")
    if ended.state in ("paused", "failed"):
        again = "let it go on" if ended.state == "paused" else "once what failed it is mended"
        note(f"{again}: agon search resume {ended.id}")
    if ended.state != "succeeded":
        raise typer.Exit(Exit.FAILED)


@contextmanager
def _leaving(search: Search) -> Iterator[None]:
    """Ctrl-C ends the command and says that it did not end the search."""
    try:
        yield
    except KeyboardInterrupt:
        again = f"Follow it: agon search watch {search.id}   Stop it: agon search cancel {search.id}"
        err.print(f"\nsearch {search.id} goes on. {again}")
        raise typer.Exit(Exit.INTERRUPTED) from None
