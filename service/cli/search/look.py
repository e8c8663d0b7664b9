"""agon search list, show, trials, logs, report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from service.cli import facts
from service.cli.arguments import Labels, Owner, Scores, SearchState, TrialState, connect, labels_of
from service.cli.disk import warn
from service.cli.logged import Asked, of_search, options
from service.cli.logged import show as print_logs
from service.cli.output import ago, note, out, print_facts, print_json, print_table, seconds, state, write_whole
from service.cli.search.arguments import SearchArgument
from service.cli.specs import Json
from service.cli.waits import waits

if TYPE_CHECKING:
    from service.client import Relative, Search


def list_(
    state_: SearchState = None,
    name: Annotated[str | None, typer.Option(help="Only searches of this name.")] = None,
    owner: Owner = None,
    label: Labels = None,
    score: Scores = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 20,
    json_: Json = False,
) -> None:
    """List searches, newest first.

    Examples:

    - `agon search list`
    - `agon search list --state running --json | jq '.[].id'`
    - `agon search list --label team=vision`
    """
    from itertools import islice

    marks = {"labels": labels_of(label), "scores": score or ()}
    with connect() as client:
        found = list(
            islice(client.every_search(state=state_, name=name, owner=owner, limit=min(limit, 100), **marks), limit)
        )
        filters = {"--state": state_, "--name": name, "--owner": owner, "--label": label, "--score": score}
        others = client.searches(limit=100) if not found and any(filters.values()) else None
        warn(client)
    if json_:
        print_json([search.model_dump(mode="json") for search in found])
        return
    rows = [
        (search.id, search.name, facts.state_of(search), _done(search), _best(search), ago(search.created_at))
        for search in found
    ]
    empty = "no searches; begin: agon search init dcgan-digits > search.yaml"
    if others is not None and others.items:
        empty = facts.none_match("search", filters, len(others.items), others.next_cursor is not None)
    print_table(("search", "name", "state", "trials", "best", "submitted"), rows, empty)


def show(
    target: Annotated[
        str, typer.Argument(metavar="SEARCH[/TRIAL]", help="A search, or one of its trials: digits-lr/3.")
    ],
    json_: Json = False,
) -> None:
    """Show one search, or one trial with its values, score and checkpoint.

    Examples:

    - `agon search show digits-lr`
    - `agon search show digits-lr/t-00003 --json | jq .spec`
    """
    from service.cli.search.source import find, trial_id

    name, slash, trial = target.partition("/")
    with connect() as client:
        search = find(client, name)
        found = client.trial(search.id, trial_id(trial)) if slash else search
        children = () if slash or json_ else client.search_lineage(search.id, limit=facts.CHILDREN + 1).children
        warn(client)
    if json_:
        print_json(found.model_dump(mode="json"))
        return
    told = _trial_facts(search, found.model_dump()) if slash else _facts(search, children)
    print_facts(told)


def trials(
    search: SearchArgument,
    state_: TrialState = None,
    number: Annotated[
        bool, typer.Option("--by-number", help="In the order in which they were drawn, instead of best first.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 50,
    json_: Json = False,
) -> None:
    """List a search's trials, best first, with their values.

    A score is the mean of a trial's last evaluations ± their standard deviation.

    Examples:

    - `agon search trials digits-lr`
    - `agon search trials digits-lr --state diverged --json | jq '.[].values'`
    """
    from itertools import islice

    from service.cli.search.source import find
    from service.cli.search.view import TrialLine
    from service.cli.search.watch import table

    with connect() as client:
        found = find(client, search)
        order = "number" if number else "score"
        listed = client.every_trial(found.id, state=state_, order=order, limit=min(limit, 100))
        rows = list(islice(listed, limit))
    if json_:
        print_json([row.model_dump(mode="json") for row in rows])
    elif not rows:
        others = sum(found.trials.values())
        given = {"--state": state_}
        note(facts.none_match("trial", given, others, False) if state_ and others else "no trials yet")
    else:
        best = found.best.id if found.best else None
        out.print(table([TrialLine.of(row) for row in rows], found.search["metric"], best))


@options("rank")
def logs(search: SearchArgument, asked: Asked) -> None:
    """Print the log of a search's driver; follow it, search in it, or fetch it. `agon logs SEARCH/TRIAL` has a trial's.

    --all fetches the logs of its trials, too.

    Examples:

    - `agon search logs digits-lr --tail 50`
    - `agon search logs digits-lr --follow`
    - `agon search logs digits-lr --all --out logs.tar`
    """
    from service.cli.search.source import find

    with connect() as client:
        print_logs(client, of_search(client, find(client, search).id), asked)


def report(
    search: SearchArgument,
    file: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where the page goes; a folder gets report.html in it.")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    json_: Json = False,
) -> None:  # fmt: skip
    """Get a search's report: one HTML page, complete in itself: best specs, score over images of all trials, what matters.

    Without --out it goes to SEARCH.html in the current folder.

    Examples:

    - `agon search report digits-lr --out digits-lr.html --open`
    """
    from service.cli.search.source import find

    with connect() as client:
        found = find(client, search)
        page = client.search_report(found.id)
    path = file or Path(f"{found.name}.html")
    path = path / "report.html" if path.is_dir() else path
    write_whole(path, page)
    if json_:
        print_json({"path": str(path), "search": found.id})
    else:
        typer.echo(str(path))
    if open_:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())


def _done(search: Search) -> str:
    ended = sum(search.trials.get(name, 0) for name in ("stopped", "completed", "diverged", "failed"))
    return f"{ended} of {search.search['trials']}"


def _best(search: Search) -> str:
    from service.cli.search.view import TrialLine

    return f"{search.search['metric']} {TrialLine.of(search.best).words} ({search.best.id})" if search.best else ""


def _facts(search: Search, children: Sequence[Relative]) -> Iterator[tuple[str, Text | str]]:
    from service.cli.search.view import extent

    spec = search.search
    yield "search", search.id
    yield "name", search.name
    yield from facts.noted(search)
    yield "state", facts.state_of(search)
    yield "reason", search.reason
    yield from waits(search, "agon search edit")
    if search.limit and search.state == "cancelled":
        raised = f"agon search edit {search.id} --set limits.{search.limit}=…, then "
        yield "to go on", f"{raised}agon search extend {search.id} --trials N"
    yield from facts.times(search)
    yield "failure", f"{search.failure.kind}: {search.failure.reason}" if search.failure else ""
    yield "its log", f"agon search logs {search.id}" if search.failure and search.attempt else ""
    at_once = "" if spec["algorithm"] == "pbt" else f", at most {spec['max_concurrent']} at once"
    yield "algorithm", f"{spec['algorithm']}, {extent(spec)}{at_once}"
    yield "space", ", ".join(spec["space"])
    yield "trials", ", ".join(f"{count} {name}" for name, count in search.trials.items())
    yield "images", f"{search.images:,}" if search.images else ""
    yield "best", _best(search)
    yield "values", _values(search.best.values) if search.best else ""
    if search.model:
        champion = " (champion)" if search.model.champion else ""
        yield "model", f"models:/{search.model.name}/{search.model.version}{champion}: {search.model.verdict}"
    yield "forks", facts.forks(children)
    yield "attempt", str(search.attempt)
    yield "mlflow run", search.mlflow_run_id or ""
    yield "submitted", ago(search.created_at)
    if search.started_at and search.finished_at:
        yield "took", seconds((search.finished_at - search.started_at).total_seconds())


def _trial_facts(search: Search, trial: Mapping[str, Any]) -> Iterator[tuple[str, Text | str]]:
    yield "trial", f"{search.id}/{trial['id']}"
    yield "state", state(trial["state"])
    yield "reason", trial["reason"]
    yield "its log", f"agon logs {search.id}/{trial['id']}" if trial["state"] == "failed" else ""
    spread = trial["spread"] or 0.0
    yield search.search["metric"], "" if trial["score"] is None else f"{trial['score']:.4g} ± {spread:.2g}"
    yield "values", _values(trial["values"])
    yield "clones", ", ".join(f"of {clone['source']} at step {clone['step']}" for clone in trial["clones"])
    yield "images", f"{trial['images']:,}"
    yield "took", seconds(trial["seconds"])
    yield "checkpoint", trial["checkpoint"] or ""


def _values(given: Mapping[str, Any]) -> str:
    from service.cli.search.view import values

    return values(given)
