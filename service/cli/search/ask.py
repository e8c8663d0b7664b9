"""agon search stop, edit, cancel, pause, resume, extend, delete."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from service.cli.arguments import Changes, Etag, WithMlflow, Yes, connect, quoted
from service.cli.facts import asked, edited
from service.cli.output import err, print_json, state
from service.cli.search.arguments import SearchArgument
from service.cli.specs import Json
from service.cli.sure import sure, told


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


def edit(search: SearchArgument, set_: Changes, if_match: Etag = None, json_: Json = False) -> None:
    """Change fields of a search: name, labels, notes, limits and base.queue at any time; max_concurrent, base.resources, base.retry and
    base.publish while it waits, is paused, or has ended.

    All of them, or none. More trials or another budget: `extend`. Exit code 2 if a field can't be edited, 4 if it can't in this state.

    Examples:

    - `agon search edit digits-lr --set labels.team=vision`
    - `agon search edit digits-lr --set max_concurrent=8 --set base.publish.model=digits`
    """
    from service.cli.search.source import find, set_of

    with connect() as client:
        found = client.edit_search(find(client, search).id, set_of(set_), if_match=quoted(if_match))
    if json_:
        print_json(found.model_dump(mode="json"))
    else:
        err.print(edited("search", found))


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
    _ask("pause_search", search, json_)


def resume(search: SearchArgument, json_: Json = False) -> None:
    """Let a paused search go on: its trials continue from their checkpoints. One that failed tries again
    what failed the search, a registry that was down say; trials that failed stay so.

    Examples:

    - `agon search resume digits-lr`
    """
    _ask("resume_search", search, json_)


def extend(
    search: SearchArgument,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in all.")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Budget: real images over all trials.")] = None,
    time: Annotated[float | None, typer.Option("--seconds", help="Budget: wall time of the search.")] = None,
    json_: Json = False,
) -> None:
    """Let a search that has ended, or is paused, do more. A budget replaces the one it had.

    Examples:

    - `agon search extend digits-lr --trials 32`
    - `agon search extend digits-lr --images 20000000`
    """
    if trials is None and images is None and time is None:
        raise typer.BadParameter("give --trials, --images or --seconds")
    budget = {"images": images, "seconds": time} if images is not None or time is not None else None
    _ask("extend", search, json_, trials=trials, budget=budget)


def delete(search: SearchArgument, mlflow: WithMlflow = False, yes: Yes = False) -> None:
    """Delete a search that has ended: its trials, their checkpoints, its events, log and report. On a terminal it asks first.

    Jobs that were made of its trials keep what they began with. Refused while a trial has a pinned checkpoint. Exit code 4 if
    it has not ended (`agon search cancel` ends it), or is somebody else's.

    Examples:

    - `agon search delete digits-lr`
    - `agon search delete s-0123456789ab --mlflow --yes`
    """
    from service.cli.search.source import find
    from service.client import NotFound

    with connect() as client:
        try:
            found = find(client, search)
        except NotFound:  # unless something of it is left
            told(f"search {search}", client.delete_search(search))
            return
        sure(f"search {found.id} ({found.name}) with {sum(found.trials.values())} trials", mlflow, yes)
        told(f"search {found.id}", client.delete_search(found.id, mlflow=mlflow))


def _ask(call: str, name: str, json_: bool, **arguments: Any) -> None:
    """One call that changes what is wanted of a search."""
    from service.cli.search.source import find

    with connect() as client:
        found = getattr(client, call)(find(client, name).id, **arguments)
    if json_:
        print_json(found.model_dump(mode="json"))
        return
    err.print(asked("search", found))
