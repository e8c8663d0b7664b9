"""What trains, by the name that is typed: a job, or a trial of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.jobs import find

if TYPE_CHECKING:
    from service.client import Client

Trained = Annotated[
    str,
    typer.Argument(
        metavar="JOB|SEARCH/TRIAL",
        help="A job's id or name (then the newest of that name), or a trial: digits-lr/3.",
    ),
]


def id_of(client: Client, text: str) -> str:
    """The id of a job, or `SEARCH/TRIAL` in ids. Raises NotFound."""
    if "/" not in text:
        return find(client, text).id
    from service.cli.search.source import trial_of

    return trial_of(client, text)
