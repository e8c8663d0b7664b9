"""agon cancel, pause, resume, retry."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from service.cli.arguments import connect
from service.cli.facts import asked
from service.cli.jobs import JobArgument, find, follow_to_end
from service.cli.output import err, note, print_json, state
from service.cli.specs import Json

Wait = Annotated[bool, typer.Option("--wait", help="Follow the job until it has ended.")]


def cancel(job: JobArgument, json_: Json = False) -> None:
    """Ask a job to write a checkpoint and stop. Exit code 4 if it has ended already.

    Examples:

    - `agon cancel dcgan-digits`
    """
    _ask("cancel", job, json_)


def pause(job: JobArgument, json_: Json = False) -> None:
    """Ask a job to write a checkpoint and free all that it holds of the cluster, until `agon resume`. One that waits leaves the queue.

    Exit code 4 if it has ended already, or is being cancelled.

    Examples:

    - `agon pause dcgan-digits`
    """
    _ask("pause", job, json_)


def resume(job: JobArgument, wait: Wait = False, json_: Json = False) -> None:
    """Let a paused job go on from its checkpoint: it ends with the weights that it would have had without the pause.

    It waits for its turn at its first place in the queue, and has all its attempts again. With --wait: live progress, and exit
    code 1 unless it succeeds. Exit code 4 while it still saves, and if it has ended (one that has failed or was cancelled goes on
    with `agon retry`).

    Examples:

    - `agon resume dcgan-digits`
    - `agon resume j-0123456789 --wait`
    """
    _ask("resume", job, json_, wait=wait)


def retry(job: JobArgument, wait: Wait = False, json_: Json = False) -> None:
    """Let a job that has failed or was cancelled go on: the same job, its next attempt, from its newest checkpoint.

    Mend what broke it first: the data's server, a full disk, the registry, or with `agon edit` what it takes of the cluster. With
    --wait: live progress, and exit code 1 unless it succeeds. Exit code 4 if it has succeeded, or has not ended.

    Examples:

    - `agon retry dcgan-digits`
    - `agon retry j-0123456789 --wait`
    """
    with connect() as client:
        found = client.retry(find(client, job).id)
        if wait:
            follow_to_end(client, found, json_)
            return
    if json_:
        print_json(found.model_dump(mode="json"))
        return
    err.print(Text.assemble("job ", (found.id, "bold"), " is tried again; it is ", state(found.state)))
    note(f"follow it: agon watch {found.id}   its log: agon logs {found.id} -f   stop it: agon cancel {found.id}")


def _ask(call: str, name: str, json_: bool, *, wait: bool = False) -> None:
    """One call that changes what is wanted of a job."""
    with connect() as client:
        found = getattr(client, call)(find(client, name).id)
        if wait:
            follow_to_end(client, found, json_)
            return
    if json_:
        print_json(found.model_dump(mode="json"))
    else:
        err.print(asked("job", found))
