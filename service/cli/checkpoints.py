"""agon checkpoints: what a training can go on from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.arguments import connect
from service.cli.groups import Group, Most
from service.cli.output import ago, note, print_json, print_table, size
from service.cli.specs import Json
from service.cli.trained import Trained, id_of

if TYPE_CHECKING:
    from service.client import Checkpoint


def _step(text: str) -> str:
    if text in ("latest", "best") or (text.isascii() and text.isdecimal() and len(text) <= 18):
        return text
    raise typer.BadParameter(f"{text!r} is no step; give a number, latest or best")


Step = Annotated[str, typer.Argument(metavar="STEP|latest|best", help="Which.", callback=_step)]


def list_(job: Trained, limit: Most = 50, json_: Json = False) -> None:
    """List the checkpoints that are kept of a job or trial, newest step first, with what was scored at their steps.

    Complete ones alone. A job goes on from its newest when it is retried or resumed.

    Examples:

    - `agon checkpoints dcgan-digits` (the same as `agon checkpoints list dcgan-digits`)
    - `agon checkpoints j-0123456789 --json | jq '.[] | select(.best).step'`
    - `agon checkpoints digits-lr/3`
    """
    with connect() as client:
        name = id_of(client, job)
        found = list(islice(client.every_checkpoint(name), limit + 1))
    if len(found) > limit:
        found.pop()
        note(f"there are more than these {limit}; --limit shows them")
    if json_:
        print_json([item.model_dump(mode="json") for item in found])
        return
    rows = [
        (item.step, _count(item.images), size(item.bytes), _marks(item), _scores(item), ago(item.written_at))
        for item in found
    ]
    print_table(("step", "images", "size", "", "scores", "written"), rows, f"{name} has no complete checkpoint yet")


def download(
    job: Trained,
    step: Step = "latest",
    out: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|FILE.tar",
            help="A new folder, or a name that ends in .tar. Default: a folder JOB-step-STEP, here.",
        ),
    ] = None,
) -> None:
    """Download a checkpoint: safetensors and JSON, each file proved by its SHA-256 as it comes.

    The path of what was written goes to stdout. A download that breaks off goes on by itself; nothing is there before all is.

    Examples:

    - `agon checkpoints download dcgan-digits`
    - `agon checkpoints download dcgan-digits best --out best/`
    - `agon checkpoints download digits-lr/3 500 --out trial.tar`
    """
    with connect() as client:
        name = id_of(client, job)
        found = client.checkpoint(name, step).step
        path = Path(out) if out is not None else Path(f"{name.replace('/', '-')}-step-{found:09d}")
        typer.echo(str(client.download_checkpoint(name, found, to=path)))


def pin(job: Trained, step: Step, json_: Json = False) -> None:
    """Keep a checkpoint until it is unpinned, whatever the policy says that removes superseded ones.

    A job with pinned checkpoints can't be deleted.

    Examples:

    - `agon checkpoints pin dcgan-digits best`
    - `agon checkpoints pin digits-lr/3 500`
    """
    with connect() as client:
        found = client.pin_checkpoint(id_of(client, job), step)
    if json_:
        print_json(found.model_dump(mode="json"))
    else:
        note(f"step {found.step} is kept until it is unpinned")


def unpin(job: Trained, step: Step) -> None:
    """Keep a checkpoint no longer than policy says. One that only its pin has kept is gone with it.

    Examples:

    - `agon checkpoints unpin dcgan-digits 500`
    """
    from service.client import NotFound

    with connect() as client:
        name = id_of(client, job)
        found = client.checkpoint(name, step).step
        client.unpin_checkpoint(name, found)
        try:
            client.checkpoint(name, found)
        except NotFound:
            note(f"step {found} is gone: only its pin had kept it")
        else:
            note(f"step {found} is kept as long as policy says")


def delete(job: Trained, step: Step) -> None:
    """Delete a checkpoint. Refused for a pinned one, and for the newest one of a job that has not ended.

    Examples:

    - `agon checkpoints delete dcgan-digits 500`
    """
    with connect() as client:
        name = id_of(client, job)
        found = client.checkpoint(name, step)
        client.delete_checkpoint(name, found.step)
    note(f"step {found.step} is deleted: {size(found.bytes)}")


GROUP = Group(
    "checkpoints",
    """Checkpoints of a job or a search's trial: list, download, pin, unpin, delete.

`agon checkpoints JOB` is short for `agon checkpoints list JOB`. A step may be written as `latest` or `best`.
""",
    {"list": list_, "download": download, "pin": pin, "unpin": unpin, "delete": delete},
)


def _count(images: int | None) -> str:
    return "–" if images is None else f"{images:,}"


def _marks(item: Checkpoint) -> str:
    """`newest, pinned`."""

    def marks() -> Iterator[str]:
        for name in ("newest", "best", "pinned"):
            if getattr(item, name):
                yield name

    return ", ".join(marks())


def _scores(item: Checkpoint) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in sorted(item.scores.items()))
