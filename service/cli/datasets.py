"""agon datasets: packed data that the server knows by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from service.cli.groups import Group, Most, most
from service.cli.output import Exit, ago, err, out, print_json, print_table, size
from service.cli.specs import Json

if TYPE_CHECKING:
    from service.client import Dataset

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a registered dataset.")]


def list_(limit: Most = 50, json_: Json = False) -> None:
    """List the registered datasets, newest first.

    Examples:

    - `agon datasets`
    - `agon datasets --json | jq '.[].manifest.digest'`
    """
    from service.client import Client

    with Client() as client:
        found = most(client.datasets, limit)
    if json_:
        print_json([dataset.model_dump(mode="json") for dataset in found])
        return
    rows = [
        (item.name, f"{item.manifest.samples:,}", _shape(item), len(item.manifest.classes), size(item.manifest.bytes), item.url)
        for item in found
    ]  # fmt: skip
    print_table(
        ("dataset", "images", "size", "classes", "bytes", "url"),
        rows,
        "no datasets; add one: agon datasets add SOURCE",
    )


def show(name: Name, json_: Json = False) -> None:
    """Show one dataset: what its manifest says, and its last check.

    Examples:

    - `agon datasets photos` (the same as `agon datasets show photos`)
    - `agon datasets show photos --json | jq .manifest.class_counts`
    """
    from service.client import Client

    with Client() as client:
        found = client.dataset(name)
    if json_:
        print_json(found.model_dump(mode="json"))
    else:
        _print(found)


def add(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Images (a folder, zip or tar), or packed data: a folder that holds dataset.json, http(s)://, s3://, gs://.",
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(help="What jobs shall call it: data.url=dataset:NAME.", show_default="as the source is called"),
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(min=1, help="Pixels a side of packed images.", show_default="their own, or 64")
    ] = None,
    channels: Annotated[
        int | None, typer.Option(min=1, max=3, help="Of packed images: 1 grey, 3 RGB.", show_default="their own")
    ] = None,
    json_: Json = False,
) -> None:
    """Register data under a name; images are packed first, into the stack of this machine.

    A packed folder must lie where the server's jobs may read: AGON_HOME/data, or a folder given to `agon up --data-root DIR`. The
    server reads its manifest now. `agon data pack` has more options for packing; `agon submit RECIPE --data IMAGES` does all of
    it at once.

    Examples:

    - `agon datasets add photos.zip --name photos --resolution 64`
    - `agon datasets add ~/.agon/data/photos`
    - `agon datasets add s3://bucket/mnist --name mnist`
    """
    from service.cli import bring
    from service.client import Client

    with Client() as client:
        found = bring.add(client, source, name, resolution, channels)
    if json_:
        print_json(found.model_dump(mode="json"))
    else:
        _print(found)


def check(name: Name, json_: Json = False) -> None:
    """Read every shard of a dataset, and compare it with the manifest. Exit code 1 if one is damaged.

    The server has ten minutes for it; `agon data check URL` has no limit.

    Examples:

    - `agon datasets check photos`
    """
    from service.client import Client

    with Client() as client:
        found = client.check_dataset(name)
    if json_:
        print_json(found.model_dump(mode="json"))
    elif found.ok:
        out.print(f"{name}: {found.shards} shards, {size(found.bytes)}, all as the manifest says")
    else:
        print_table(("shard", "fault"), [(fault.shard, fault.message) for fault in found.faults], "")
    if not found.ok:
        raise typer.Exit(Exit.FAILED)


def remove(name: Name) -> None:
    """Let the server forget a dataset. Its files stay, and so do jobs that train on it.

    Examples:

    - `agon datasets remove photos`
    """
    from service.client import Client

    with Client() as client:
        client.delete_dataset(name)
    err.print(Text.assemble("dataset ", (name, "bold"), " is forgotten; its files stay"))


GROUP = Group(
    "datasets",
    """Datasets that the server knows by name: list, show, add, check, remove.

`agon datasets` is short for `agon datasets list`, `agon datasets NAME` for `agon datasets show NAME`. A job trains on one
with `--set data.url=dataset:NAME`, or `agon submit RECIPE --data NAME`, which also fills in classes, channels and resolution.
""",
    {"list": list_, "show": show, "add": add, "check": check, "remove": remove},
)


def _shape(dataset: Dataset) -> str:
    """`64×64 RGB`."""
    side = dataset.manifest.resolution
    return f"{side}×{side} {'RGB' if dataset.manifest.channels == 3 else 'grey'}"


def _print(dataset: Dataset) -> None:
    told, checked = dataset.manifest, dataset.last_check
    verdict = "" if checked is None else "whole" if checked.ok else f"{len(checked.faults)} shards are damaged"
    rows = [
        ("dataset", dataset.name),
        ("url", dataset.url),
        ("images", f"{told.samples:,} of {_shape(dataset)}"),
        ("classes", ", ".join(told.classes)),
        ("shards", f"{told.shards}, {size(told.bytes)}"),
        ("digest", told.digest),
        ("checked", f"{ago(checked.checked_at)}: {verdict}" if checked else "never"),
        ("added", ago(dataset.created_at)),
    ]
    for key, value in rows:
        if value:
            out.print(Text.assemble((f"{key:<9}", "bold"), value))
