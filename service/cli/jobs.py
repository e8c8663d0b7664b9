"""agon submit, jobs, show, watch, events, logs, cancel, retry."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from service.cli import facts
from service.cli.arguments import JobState
from service.cli.output import Exit, ago, err, note, out, print_json, print_table, state
from service.cli.specs import Json, Set

if TYPE_CHECKING:
    from service.client import Client, Job

JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="A job's id, or its name (then the newest of that name).")
]
LOG_POLL_SECONDS = 1.0
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
    with _client() as client:
        if source is not None and data is not None:
            from service.cli.bring import body as bring

            body = bring(client, source, data, set_ or ())
        job = client.submit(body) if body is not None else _onward(client, str(from_trial), scratch, set_ or ())
        if not wait:
            _print_submitted(job, json_)
            if not json_:
                _say_why_it_waits(client, job)
            return
        err.print(Text.assemble("submitted ", (job.id, "bold")))
        _follow(client, job, json_)


def _onward(client: Client, trial: str, scratch: bool, assignments: Sequence[str]) -> Job:
    from service.cli.search.source import set_of, trial_of

    return client.submit(trial=trial_of(client, trial), scratch=scratch, set=set_of(assignments))


def watch(job: JobArgument, json_: Json = False) -> None:
    """Follow a job until it has ended, with live progress. Ctrl-C leaves it running.

    Exit code 1 unless it succeeds. With --json the job as it ended is printed.

    Examples:

    - `agon watch dcgan-digits`
    - `agon watch j-0123456789`
    """
    with _client() as client:
        _follow(client, find(client, job), json_)


def jobs(
    state_: JobState = None,
    name: Annotated[str | None, typer.Option(help="Only jobs of this name.")] = None,
    family: Annotated[str | None, typer.Option(help="Only jobs of this family.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 20,
    json_: Json = False,
) -> None:
    """List jobs, newest first.

    Examples:

    - `agon jobs`
    - `agon jobs --state running`
    - `agon jobs -n 100 --json | jq '.[].id'`
    """
    from itertools import islice

    with _client() as client:
        every = client.every_job(state=state_, name=name, family=family, limit=min(limit, 100))
        found = list(islice(every, limit))
        filters = {"--state": state_, "--name": name, "--family": family}
        others = client.jobs(limit=100) if not found and any(filters.values()) else None
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
    """Show one job: state, progress, scores, model, and why it waits or failed.

    Examples:

    - `agon show dcgan-digits`
    - `agon show j-0123456789 --json | jq .spec`
    """
    with _client() as client:
        found = find(client, job)
    if json_:
        print_json(found.model_dump(mode="json"))
        return
    rows = [(key, value) for key, value in facts.facts(found) if value]
    width = max(len(key) for key, _ in rows)
    for key, value in rows:
        out.print(Text.assemble((f"{key:<{width}}  ", "bold"), value))


def events(
    job: JobArgument,
    after: Annotated[int | None, typer.Option(min=0, help="Only events behind this id, a number.")] = None,
) -> None:
    """Print a job's events as JSON lines, from the first, until it has ended.

    Examples:

    - `agon events dcgan-digits`
    - `agon events dcgan-digits | jq 'select(.kind == "scores")'`
    """
    with _client() as client:
        found = find(client, job)
        with _leaving(found):
            for event in client.events(found.id, after=None if after is None else str(after)):
                sys.stdout.write(event.model_dump_json() + "\n")
                sys.stdout.flush()


def logs(
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    tail: Annotated[int | None, typer.Option(min=1, help="Only so many last lines.")] = None,
    attempt: Annotated[int | None, typer.Option(min=1, help="Of that attempt.", show_default="the newest")] = None,
) -> None:
    """Print the log of a job's driver and workers.

    With --follow the log of each later attempt comes behind the one before it.

    Examples:

    - `agon logs dcgan-digits`
    - `agon logs dcgan-digits -f --tail 50`
    - `agon logs dcgan-digits --attempt 1`
    """
    with _client() as client:
        found = find(client, job)
        if follow:
            with _leaving(found):
                _follow_log(client, found, attempt or found.attempt, tail)
            return
        text = client.logs(found.id, tail=tail, attempt=attempt)
    sys.stdout.write(text)
    if not text:
        note(_no_log(found))


def _no_log(job: Job) -> str:
    """Why there is nothing to print."""
    if job.attempt == 0:
        return f"no log yet: job {job.id} is {job.state}" + (f", {job.reason}" if job.reason else "")
    return f"attempt {job.attempt} left no log" if job.ended else f"no log yet: attempt {job.attempt} is just beginning"


def _follow_log(client: Client, job: Job, attempt: int, tail: int | None) -> None:
    """Print the log as it grows, to the end of one attempt and then that of the next. Nothing is fetched twice."""
    seen = 0
    while True:
        job = client.job(job.id)  # asked before the log, so that the last lines of one that has ended are not missed
        while attempt and (piece := client.log_piece(job.id, offset=seen, attempt=attempt, tail=tail)).text:
            seen, tail = piece.end, None  # `tail` cuts the first piece alone
            sys.stdout.write(piece.text)
            sys.stdout.flush()
        if job.attempt > attempt:
            attempt, seen = attempt + 1, 0
            if attempt > 1:
                note(f"attempt {attempt}")
            continue
        if job.ended:
            return
        time.sleep(LOG_POLL_SECONDS)


def cancel(job: JobArgument, json_: Json = False) -> None:
    """Ask a job to write a checkpoint and stop. Exit code 4 if it has ended already.

    Examples:

    - `agon cancel dcgan-digits`
    """
    with _client() as client:
        found = client.cancel(find(client, job).id)
    if json_:
        print_json(found.model_dump(mode="json"))
    else:
        asked = " was asked to stop; it is " if not found.ended else " is "
        err.print(Text.assemble("job ", (found.id, "bold"), asked, state(found.state)))


def retry(
    job: JobArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job until it has ended.")] = False,
    json_: Json = False,
) -> None:
    """Let a job that has failed or was cancelled go on: the same job, its next attempt, from its newest checkpoint.

    Its spec stays as it is: mend what broke it first (the data's server, a full disk, the registry). With --wait: live progress,
    and exit code 1 unless it succeeds. Exit code 4 if it has succeeded, or has not ended.

    Examples:

    - `agon retry dcgan-digits`
    - `agon retry j-0123456789 --wait`
    """
    with _client() as client:
        found = client.retry(find(client, job).id)
        if wait:
            _follow(client, found, json_)
            return
    if json_:
        print_json(found.model_dump(mode="json"))
        return
    err.print(Text.assemble("job ", (found.id, "bold"), " is tried again; it is ", state(found.state)))
    note(f"follow it: agon watch {found.id}   its log: agon logs {found.id} -f   stop it: agon cancel {found.id}")


def find(client: Client, text: str) -> Job:
    """A job by id, or the newest by name. Raises NotFound."""
    from service.client import Invalid, NotFound

    with suppress(NotFound, Invalid):  # it is no id, or not even like one
        return client.job(text)
    with suppress(Invalid):
        if named := client.jobs(name=text, limit=1).items:
            return named[0]
    raise NotFound(404, "Not found", f"no job {text!r}; agon jobs lists them", [])


def _follow(client: Client, job: Job, json_: bool) -> None:
    from service.cli.watch import watch as follow

    with _leaving(job):
        ended = follow(client, job)
    if json_:
        print_json(ended.model_dump(mode="json"))
    elif ended.model and ended.model.champion:
        out.print(f"models:/{ended.model.name}@champion")
    elif ended.model:
        out.print(f"models:/{ended.model.name}/{ended.model.version}")
    if ended.state != "succeeded":
        raise typer.Exit(Exit.FAILED)


@contextmanager
def _leaving(job: Job) -> Iterator[None]:
    """Ctrl-C ends the command and says that it did not end the job."""
    try:
        yield
    except KeyboardInterrupt:
        err.print(f"\njob {job.id} goes on. Follow it: agon watch {job.id}   Stop it: agon cancel {job.id}")
        raise typer.Exit(Exit.INTERRUPTED) from None


def _client() -> Client:
    from service.client import Client

    return Client()


def _print_submitted(job: Job, json_: bool) -> None:
    if json_:
        print_json(job.model_dump(mode="json"))
        return
    out.print(job.id)
    note(f"follow it: agon watch {job.id}   its log: agon logs {job.id} -f   stop it: agon cancel {job.id}")


def _say_why_it_waits(client: Client, job: Job) -> None:
    """Once the control plane has looked at the job, if it does so soon: why it doesn't start."""
    from service.client import ClientError

    until = time.monotonic() + LOOK_SECONDS
    with suppress(ClientError):  # the job is submitted, whatever becomes of this
        while job.state == "submitted" and time.monotonic() < until:
            time.sleep(0.1)
            job = client.job(job.id)
    if job.state in ("submitted", "queued") and job.reason:
        note(f"it {job.reason}")
