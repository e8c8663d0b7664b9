"""agon recipes, init, validate."""

from __future__ import annotations

import inspect
import sys
from typing import Annotated

import typer
from rich.text import Text

from service.cli.output import err, note, print_json, print_table
from service.cli.waits import would_start

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Source = Annotated[str, typer.Argument(metavar="FILE|RECIPE", help="A spec in YAML or JSON, or the name of a recipe.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Override a field, e.g. train.batch=128. Repeatable."),
]


def recipes(json_: Json = False) -> None:
    """List the recipes. Works without a running stack.

    Examples:

    - `agon recipes`
    - `agon recipes --json`
    """
    from trainer.families.table import recipes as table

    rows = [(name, recipe().arch.family, _first_line(recipe)) for name, recipe in table().items()]
    if json_:
        print_json([{"name": name, "family": family, "description": text} for name, family, text in rows])
    else:
        print_table(("recipe", "family", "what it trains"), rows, "no recipes")


def init(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe (see `agon recipes`).")],
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Print a recipe as a complete spec with every field explained. Works without a running stack.

    Examples:

    - `agon init dcgan-digits > job.yaml`
    - `agon init dcgan-64 --set train.batch=256 > job.yaml`
    """
    from service.cli.commented import commented
    from service.cli.source import unknown_recipe
    from trainer.families.table import recipes as table
    from trainer.spec import with_overrides

    found = table().get(recipe)
    if found is None:
        raise unknown_recipe(recipe)
    spec = with_overrides(found(), set_ or ())
    if json_:
        print_json(spec.model_dump(mode="json"))
    else:
        sys.stdout.write(commented(spec, recipe))


def validate(
    source: Source,
    set_: Set = None,
    offline: Annotated[bool, typer.Option("--offline", help="Don't ask the API, also if it is up.")] = False,
    json_: Json = False,
) -> None:
    """Check a spec, and print what it resolves to with --json. Exit code 2 and every wrong field if it is invalid.

    The spec is checked here; if an API is up it is asked too, because it alone knows datasets, which folders are allowed, and when the job
    would start.

    Examples:

    - `agon validate job.yaml`
    - `agon validate dcgan-digits --set resources.workers=4 --json`
    """
    from service.cli.source import read

    found = read(source, set_ or ())
    resolved, by = found.body(), "here; no API was asked"
    start: list[str] = []
    if not offline:
        from service.client import Client, NotConfigured, Unreachable

        try:
            with Client(patience=0.0) as client:
                resolved, by = client.validate(found.body()), f"here and by {client.url}"
                start = [] if json_ else [*would_start(client.forecast(found.body()))]
        except (NotConfigured, Unreachable) as error:
            if isinstance(error, Unreachable):
                note(str(error))
    if found.dataset and "and by" not in by:
        note(f"{found.dataset} can be checked by the API alone")
    if json_:
        print_json(resolved)
        return
    spec = found.spec
    err.print(Text.assemble(("valid", "bold green"), f" (checked {by})"))
    steps = -(-spec.train.images // (spec.train.batch * spec.objective.d_steps))
    classes = f", {spec.arch.classes} classes" if spec.arch.classes else ""
    note(
        f"{spec.name}: {spec.arch.family} at {spec.arch.resolution} px{classes}; {spec.train.images:,} images in batches of"
        f" {spec.train.batch} (about {steps:,} steps) on {spec.resources.workers} workers; digest {spec.digest()[:12]}"
    )
    for line in start:
        note(line)


def _first_line(function: object) -> str:
    return (inspect.getdoc(function) or "").split("\n", 1)[0]
