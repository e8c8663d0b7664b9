"""Options of several verbs, and their client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

if TYPE_CHECKING:
    from service.client import Client

RunStates = Literal[
    "submitted", "queued", "starting", "running", "stopping", "paused", "succeeded", "failed", "cancelled"
]
RunKind = Literal["job", "search"]
TrialStates = Literal["pending", "running", "paused", "stopped", "completed", "diverged", "failed"]


def _state(of: str, states: object) -> typer.models.OptionInfo:
    names = ", ".join(get_args(states))
    found: typer.models.OptionInfo = typer.Option("--state", metavar="STATE", help=f"Only {of} in this state: {names}.")
    return found


JobState = Annotated[RunStates | None, _state("jobs", RunStates)]
SearchState = Annotated[RunStates | None, _state("searches", RunStates)]
TrialState = Annotated[TrialStates | None, _state("trials", TrialStates)]


Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME=VALUE", help="Only those with this label. Repeatable: with all of them."),
]
Owner = Annotated[str | None, typer.Option(metavar="PERSON", help="Only this person's.")]
Scores = Annotated[
    list[str] | None,
    typer.Option("--score", metavar="BOUND", help="Only those whose newest score is so: 'fid<20'. Repeatable."),
]


Changes = Annotated[
    list[str],
    typer.Option("--set", metavar="PATH=VALUE", help="A field's new value; null takes a label out. Repeatable."),
]


Etag = Annotated[
    str | None,
    typer.Option(
        "--if-match",
        metavar="ETAG",
        help="Only if nobody has changed it since it was shown with this etag (--json). Exit code 4 if someone has.",
        show_default="whatever it is by now",
    ),
]


def quoted(etag: str | None) -> str | None:
    """As the API takes it; a shell may have taken its quotes."""
    return etag if etag is None or etag == "*" or '"' in etag else f'"{etag}"'


def labels_of(words: Sequence[str] | None) -> dict[str, str]:
    """`NAME=VALUE` words. Raises typer.BadParameter."""
    found: dict[str, str] = {}
    for word in words or ():
        name, equals, value = word.partition("=")
        if not equals or found.setdefault(name, value) != value:
            what = "names a label twice" if equals else "is no label"
            raise typer.BadParameter(f"{word!r} {what}; write NAME=VALUE, e.g. team=vision", param_hint="--label")
    return found


WithMlflow = Annotated[
    bool, typer.Option("--mlflow", help="Also its records in MLflow; refused if a version of a model stands on one.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


def connect() -> Client:
    """A client of the API that the environment names."""
    from service.client import Client

    return Client()
