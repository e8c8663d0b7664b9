"""agon submit, jobs, show, watch, events."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from service.cli import facts
from service.cli.arguments import JobState, Labels, Owner, RunKind, Scores, connect, labels_of
from service.cli.disk import warn
from service.cli.output import Exit, ago, err, note, out, print_facts, print_json, print_table
from service.cli.specs import Json, Set

if TYPE_CHECKING:
    from service.client import Client, Event, Job

JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="A job's id, or its name (then the newest of that name).")
]
LOOK_SECONDS = 2.0
"""After a submission, for the control plane's first look at the job."""


def submit(
    source: Annotated[
        str | None,
        typer.Argument(metavar="FILE|RECIPE", help="A spec in YAML or JSON, or the name of a recipe."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help="Train on this: images (a folder, zip or tar), packed data, a URL or a dataset's name.",
        ),
    ] = None,
    set_: Set = None,
    from_trial: Annotated[
        str | None,
        typer.Option("--from-trial", metavar="SEARCH/TRIAL", help="Instead: train a search's trial for longer."),
    ] = None,
    scratch: Annotated[
        bool, typer.Option("--scratch", help="With --from-trial: start over instead of from the trial's checkpoint.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job until it has ended.")] = False,
    json_: Json = False,
) -> None:
    """Submit a job. With --wait: live progress, and exit code 1 unless it succeeds; Ctrl-C leaves the job running.

    Without --wait the job's id alone goes to stdout; if it has to wait, or can't run on this cluster as it is now, the
    reason is told. Relative data paths are taken from the current folder. A trial's job goes on from the trial's newest
    checkpoint, to ten times its images unless train.images is set.

    --data packs images into AGON_HOME/data (the same ones only once), registers them as a dataset, and fills in arch.classes,
    arch.channels and arch.resolution as they are; what --set says goes before. It tells all of this on stderr.

    Examples:

    - `agon submit job.yaml --wait`
    - `agon submit dcgan-digits --set train.images=50000 --set publish.model=digits`
    - `agon submit dcgan-64 --data photos.zip --set data.mirror=true --wait`
    - `agon submit --from-trial digits-lr/t-00003 --set train.images=2000000`
    """
    if (source is None) == (from_trial is None):
        raise typer.BadParameter("give FILE|RECIPE or --from-trial SEARCH/TRIAL")
    if scratch and from_trial is None:
        raise typer.BadParameter("--scratch goes with --from-trial")
    if data is not None and source is None:
        raise typer.BadParameter("--data goes with FILE|RECIPE")
    from service.cli.source import read

    body = read(source, set_ or ()).body() if source is not None and data is None else None
    with connect() as client:
        if source is not None and data is not None:
            from service.cli.bring import body as bring

            body = bring(client, source, data, set_ or ())
        job = client.submit(body) if body is not None else _onward(client, str(from_trial), scratch, set_ or ())
        if not wait:
            print_submitted(job, json_)
            if not json_:
                explain_wait(client, job)
            return
        err.print(Text.assemble("submitted ", (job.id, "bold")))
        follow_to_end(client, job, json_)


def _onward(client: Client, trial: str, scratch: bool, assignments: Sequence[str]) -> Job:
    from service.cli.search.source import set_of, trial_of

    return client.submit(trial=trial_of(client, trial), scratch=scratch, set=set_of(assignments))


def watch(job: JobArgument, json_: Json = False) -> None:
    """Follow a job until it has ended or is paused, with live progress. Ctrl-C leaves it running.

    Exit code 1 unless it succeeds. With --json the job as it ended is printed.

    Examples:

    - `agon watch dcgan-digits`
    - `agon watch j-0123456789`
    """
    with connect() as client:
        follow_to_end(client, find(client, job), json_)


def jobs(
    state_: JobState = None,
    name: Annotated[str | None, typer.Option(help="Only jobs of this name.")] = None,
    family: Annotated[str | None, typer.Option(help="Only jobs of this family.")] = None,
    owner: Owner = None,
    label: Labels = None,
    score: Scores = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 20,
    json_: Json = False,
) -> None:
    """List jobs, newest first.

    Examples:

    - `agon jobs`
    - `agon jobs --state running`
    - `agon jobs --label team=vision --score 'fid<20'`
    - `agon jobs -n 100 --json | jq '.[].id'`
    """
    from itertools import islice

    marks = {"labels": labels_of(label), "scores": score or ()}
    with connect() as client:
        every = client.every_job(state=state_, name=name, family=family, owner=owner, limit=min(limit, 100), **marks)
        found = list(islice(every, limit))
        filters = {
            "--state": state_,
            "--name": name,
            "--family": family,
            "--owner": owner,
            "--label": label,
            "--score": score,
        }
        others = client.jobs(limit=100) if not found and any(filters.values()) else None
        warn(client)
    if json_:
        print_json([job.model_dump(mode="json") for job in found])
        return
    rows = [
        (job.id, job.name, facts.state_of(job), facts.done(job), facts.score(job), ago(job.created_at)) for job in found
    ]
    empty = "no jobs; submit one: agon submit dcgan-digits"
    if others is not None and others.items:
        empty = facts.none_match("job", filters, len(others.items), others.next_cursor is not None)
    print_table(("job", "name", "state", "done", "score", "submitted"), rows, empty)


def show(job: JobArgument, json_: Json = False) -> None:
    """Show one job: state, progress, scores, model, what it was forked from and what from it, and why it waits or failed.

    Examples:

    - `agon show dcgan-digits`
    - `agon show j-0123456789 --json | jq .spec`
    """
    with connect() as client:
        found = find(client, job)
        children = () if json_ else client.lineage(found.id, limit=facts.CHILDREN + 1).children
        saved = () if json_ else client.checkpoints(found.id, limit=facts.CHECKPOINTS).items
        warn(client)
    if json_:
        print_json(found.model_dump(mode="json"))
        return
    print_facts(facts.facts(found, children, saved))


def events(
    job: Annotated[
        str | None,
        typer.Argument(
            metavar="JOB", help="A job's id, or its name (then the newest of that name).", show_default="all runs"
        ),
    ] = None,
    after: Annotated[
        str | None, typer.Option(metavar="ID", help="Only events behind this id, which an event before had as `id`.")
    ] = None,
    kind: Annotated[RunKind | None, typer.Option(help="Of all runs: only jobs, or only searches.")] = None,
    states: Annotated[bool, typer.Option("--states", help="Of all runs: only changes of state.")] = False,
    owner: Owner = None,
    label: Labels = None,
) -> None:
    """Print a job's events as JSON lines, from the first, until it has ended. Without JOB those of all jobs and searches, from now on,
    until Ctrl-C; `run` says whose each is.

    Examples:

    - `agon events dcgan-digits`
    - `agon events dcgan-digits | jq 'select(.kind == "scores")'`
    - `agon events --states --label team=vision`
    - `agon events --after 0 | jq .run.id`
    """
    if job is not None and (kind or states or owner or label):
        raise typer.BadParameter("--kind, --states, --owner and --label go without JOB")
    if job is not None and after is not None and not after.isdecimal():
        raise typer.BadParameter(f"{after!r} is no id of a job's event; give a number", param_hint="--after")
    with connect() as client:
        if job is None:
            with suppress(KeyboardInterrupt):
                _print(client.all_events(after=after, kind=kind, owner=owner, labels=labels_of(label), states=states))
            return
        found = find(client, job)
        with leaving(found):
            _print(client.events(found.id, after=after))


def _print(events: Iterable[Event]) -> None:
    for event in events:
        sys.stdout.write(event.model_dump_json() + "\n")
        sys.stdout.flush()


def find(client: Client, text: str) -> Job:
    """A job by id, or the newest by name. Raises NotFound."""
    from service.client import Invalid, NotFound

    with suppress(NotFound, Invalid):  # it is no id, or not even like one
        return client.job(text)
    with suppress(Invalid):
        if named := client.jobs(name=text, limit=1).items:
            return named[0]
    raise NotFound(404, "Not found", f"no job {text!r}; agon jobs lists them", [])


def follow_to_end(client: Client, job: Job, json_: bool) -> None:
    """Live progress until the job has ended or is paused. Raises typer.Exit unless it succeeded."""
    from service.cli.watch import watch as follow

    with leaving(job):
        ended = follow(client, job)
    if ended.state == "paused":
        note(f"let it go on: agon resume {ended.id}")
    if json_:
        print_json(ended.model_dump(mode="json"))
    elif ended.model and ended.model.champion:
        out.print(f"models:/{ended.model.name}@champion")
    elif ended.model:
        out.print(f"models:/{ended.model.name}/{ended.model.version}")
    if ended.state != "succeeded":
        raise typer.Exit(Exit.FAILED)


@contextmanager
def leaving(job: Job) -> Iterator[None]:
    """Ctrl-C ends the command and says that it did not end the job."""
    try:
        yield
    except KeyboardInterrupt:
        err.print(f"\njob {job.id} goes on. Follow it: agon watch {job.id}   Stop it: agon cancel {job.id}")
        raise typer.Exit(Exit.INTERRUPTED) from None


def print_submitted(job: Job, json_: bool) -> None:
    """The id alone on stdout, what to do next on stderr."""
    if json_:
        print_json(job.model_dump(mode="json"))
        return
    out.print(job.id)
    note(f"follow it: agon watch {job.id}   its log: agon logs {job.id} -f   stop it: agon cancel {job.id}")


def explain_wait(client: Client, job: Job) -> None:
    """Once the control plane has looked at the job, if it does so soon: why it doesn't start."""
    from service.client import ClientError

    until = time.monotonic() + LOOK_SECONDS
    with suppress(ClientError):  # the job is submitted, whatever becomes of this
        while job.state == "submitted" and time.monotonic() < until:
            time.sleep(0.1)
            job = client.job(job.id)
    if job.state in ("submitted", "queued") and job.reason:
        note(f"it {job.reason}")
