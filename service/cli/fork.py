"""agon fork: a job that begins with another training's checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer
from rich.text import Text

from service.cli.arguments import connect
from service.cli.jobs import explain_wait, find, follow_to_end, print_submitted
from service.cli.output import err
from service.cli.specs import Json, Set

if TYPE_CHECKING:
    from service.client import Client


Source = Annotated[
    str | None,
    typer.Argument(
        metavar="JOB|SEARCH/TRIAL|MODEL@VERSION",
        help="A job's id, or its name (then the newest of that name); a trial; or a registered model's version or alias.",
    ),
]
Package = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="Instead: the weights of an imported or pulled model, in the API's data folders."
    ),
]
At = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="latest|best|STEP", help="Which of a job's or trial's checkpoints.", show_default="latest"
    ),
]
Weights = Annotated[
    bool,
    typer.Option(
        "--weights",
        help="Take the nets and their averages alone: optimisers are fresh, images count from 0, everything may change.",
    ),
]
Restart = Annotated[
    list[str] | None,
    typer.Option(
        "--restart",
        metavar="changed|PLAYER|PLAYER/NAME",
        help="With --weights: what starts anew. changed: all that doesn't fit the new nets. Repeatable.",
    ),
]


def fork(
    source: Source = None,
    package: Package = None,
    at: At = None,
    weights: Weights = False,
    restart: Restart = None,
    set_: Set = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job until it has ended.")] = False,
    json_: Json = False,
) -> None:
    """Submit a job that begins with a checkpoint of another job, or of a search's trial. It has that checkpoint from then on,
    whatever becomes of the other one.

    It goes on exactly as the other would have, for longer or elsewhere; what the training computes can't change then. With
    --weights it takes the nets alone, to be trained on other data or with other losses. Parameters that don't fit are listed, and
    start anew only if --restart says so.

    Examples:

    - `agon fork dcgan-digits --set train.images=2000000`
    - `agon fork j-0123456789ab --at best --weights --set data.url=dataset:photos --set optimizers.G.lr=1e-4`
    - `agon fork j-0123456789ab --weights --restart changed --set arch.classes=12`
    - `agon fork digits-lr/t-00003 --at 1500 --wait`
    - `agon fork digits@champion --weights --set objective.loss=hinge`
    - `agon fork --package ~/.agon/data/biggan --weights --set data.url=dataset:birds`
    """
    from service.cli.search.source import set_of

    with connect() as client:
        mode: Literal["state", "weights"] = "weights" if weights else "state"
        job = client.fork(
            **_source(client, source, package),
            checkpoint=which(at) if at is not None else None,
            mode=mode,
            restart=restart or (),
            set=set_of(set_ or ()),
        )
        if not wait:
            print_submitted(job, json_)
            if not json_:
                explain_wait(client, job)
            return
        err.print(Text.assemble("submitted ", (job.id, "bold")))
        follow_to_end(client, job, json_)


def which(text: str) -> Literal["latest", "best"] | int:
    """As the API takes it. Raises typer.BadParameter."""
    if text in ("latest", "best"):
        return cast('Literal["latest", "best"]', text)
    if text.isascii() and text.isdecimal() and len(text) <= 18:
        return int(text)
    raise typer.BadParameter(f"{text!r} is neither latest nor best nor a step", param_hint="--at")


def _source(client: Client, text: str | None, package: Path | None) -> dict[str, Any]:
    """Whose checkpoint. Raises NotFound, typer.BadParameter."""
    if (text is None) == (package is None):
        raise typer.BadParameter("give JOB, SEARCH/TRIAL or MODEL@VERSION, or --package FOLDER")
    if package is not None:
        return {"package": str(package.expanduser().absolute())}
    assert text is not None  # noqa: S101 — for the type checker
    if "@" in text:
        model, _, version = text.removeprefix("models:/").partition("@")
        return {"model": model, "version": version}
    if "/" in text:
        from service.cli.search.source import trial_of

        return {"trial": trial_of(client, text)}
    return {"job": find(client, text).id}
