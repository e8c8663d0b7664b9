"""agon search stop, cancel, pause, resume, extend."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from service.cli.output import err, print_json, state
from service.cli.search.arguments import SearchArgument, connect
from service.cli.specs import Json


def stop(
    search: SearchArgument,
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="Its id or number: t-00003 or 3.")],
    json_: Json = False,
) -> None:
    """Ask one trial to end at its next step; it keeps its score. Exit code 4 if it has ended already.

    Examples:

    - `agon search stop digits-lr 3`
    """
    from service.cli.search.source import find, trial_id

    with connect() as client:
        found = client.stop_trial(find(client, search).id, trial_id(trial))
    if json_:
        print_json(found.model_dump(mode="json"))
    else:
        err.print(Text.assemble("trial ", (found.id, "bold"), " was asked to stop; it is ", state(found.state)))


def cancel(search: SearchArgument, json_: Json = False) -> None:
    """Ask a search to save its trials and end. `extend` lets it go on later. Exit code 4 if it has ended already.

    Examples:

    - `agon search cancel digits-lr`
    """
    _ask("cancel_search", search, json_)


def pause(search: SearchArgument, json_: Json = False) -> None:
    """Ask a search to save its trials and free all that it holds of the cluster, until `resume`.

    Examples:

    - `agon search pause digits-lr`
    """
    _ask("pause", search, json_)


def resume(search: SearchArgument, json_: Json = False) -> None:
    """Let a paused search go on: its trials continue from their checkpoints. One that failed tries again
    what failed the search, a registry that was down say; trials that failed stay so.

    Examples:

    - `agon search resume digits-lr`
    """
    _ask("resume", search, json_)


def extend(
    search: SearchArgument,
    samples: Annotated[int | None, typer.Option(min=1, help="Trials in all.")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Budget: real images over all trials.")] = None,
    time: Annotated[float | None, typer.Option("--seconds", help="Budget: wall time of the search.")] = None,
    json_: Json = False,
) -> None:
    """Let a search that has ended, or is paused, do more. A budget replaces the one it had.

    Examples:

    - `agon search extend digits-lr --samples 32`
    - `agon search extend digits-lr --images 20000000`
    """
    if samples is None and images is None and time is None:
        raise typer.BadParameter("give --samples, --images or --seconds")
    budget = {"images": images, "seconds": time} if images is not None or time is not None else None
    _ask("extend", search, json_, samples=samples, budget=budget)


def _ask(call: str, name: str, json_: bool, **arguments: Any) -> None:
    """One call that changes what is wanted of a search."""
    from service.cli.search.source import find

    with connect() as client:
        found = getattr(client, call)(find(client, name).id, **arguments)
    if json_:
        print_json(found.model_dump(mode="json"))
        return
    asked = {"pause": " was asked to pause; it is ", "stop": " was asked to stop; it is ", "run": " goes on; it is "}
    resting = found.ended or found.state == "paused"
    err.print(
        Text.assemble("search ", (found.id, "bold"), " is " if resting else asked[found.desired], state(found.state))
    )
