"""What is said of a job or search that was asked for: its facts, one a line, and why a list is empty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.text import Text

from service.cli.output import ago, seconds, size, state, until
from service.cli.waits import place, waits

if TYPE_CHECKING:
    from service.client import Checkpoint, Fork, Job, Relative, Run

WISHES = {"stop": "cancelling", "pause": "pausing"}
TRAINS = ("running", "stopping")
PLANNED_BY = {"plan": ", by its plan", "runs": ", as runs like it took", "limit": ", all that its limits allow"}
CHECKPOINTS = 200
"""That are counted."""
CHILDREN = 10
"""Forks that are told."""


def wish(run: Run) -> str:
    """What someone has asked for and is not carried out yet; empty if nothing is."""
    carried_out = run.ended or run.state in ("stopping", "paused")
    return "" if carried_out else WISHES.get(run.desired, "")


def state_of(run: Run) -> Text:
    """Its state, what it is asked to become, and where it stands: `running, cancelling …`; `queued, 2nd in line`."""
    asked = wish(run)
    return Text.assemble(state(run.state), (f", {asked} …", "yellow") if asked else place(run))


def asked(what: str, run: Run) -> Text:
    """What to answer to a wish: `job j-1 was asked to pause; it is running`."""
    wishes = {"pause": " was asked to pause; it is ", "stop": " was asked to stop; it is ", "run": " goes on; it is "}
    resting = run.ended or run.state == "paused"
    return Text.assemble(f"{what} ", (run.id, "bold"), " is " if resting else wishes[run.desired], state(run.state))


def edited(what: str, run: Run) -> Text:
    """What to answer to an edit: `job j-1 is edited; it is queued`."""
    return Text.assemble(f"{what} ", (run.id, "bold"), " is edited; it is ", state(run.state))


def done(job: Job) -> str:
    """`15%`."""
    return f"{job.progress.share:.0%}" if job.progress else "–"


def score(job: Job) -> str:
    """Its scores in one line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in job.progress.scores.items()) if job.progress else ""


def checkpoints(saved: Sequence[Checkpoint]) -> str:
    """`3 (1.2 GB): newest 1500, best 1000, pinned 500`."""
    if not saved:
        return ""
    marked = {name: [str(one.step) for one in saved if getattr(one, name)] for name in ("newest", "best", "pinned")}
    told = ", ".join(f"{name} {' '.join(steps)}" for name, steps in marked.items() if steps)
    count = f"{len(saved)}{' or more' if len(saved) == CHECKPOINTS else ''}"
    return f"{count} ({size(sum(one.bytes for one in saved))})" + (f": {told}" if told else "")


def losses(metrics: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """What the players minimise, `D/loss`, and all else that a step measures: accuracies, penalties."""
    told = {name: float(value) for name, value in metrics.items()}
    found = {name: value for name, value in told.items() if name.rpartition("/")[2] == "loss"}
    return found, {name: value for name, value in told.items() if name not in found}


def figures(metrics: Mapping[str, float]) -> str:
    """`D/loss 0.5, G/loss 1.25`."""
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def begun(fork: Fork) -> str:
    """`the weights of j-1 at step 500 (32,000 images); anew: changed, D`."""
    anew = f"; anew: {', '.join(fork.restart)}" if fork.restart else ""
    taken = "the weights" if fork.mode == "weights" else "the state"
    if fork.package is not None:
        return f"{taken} of the package {fork.package}{anew}"
    version = f", which is {fork.model}" if fork.model else ""
    return f"{taken} of {fork.trial or fork.job} at step {fork.step} ({fork.images:,} images){version}{anew}"


def forks(children: Sequence[Relative]) -> str:
    """`j-2 (state at step 500), j-3`."""
    told = [
        f"{child.id} ({child.fork.mode} at step {child.fork.step})" if child.fork else child.id
        for child in children[:CHILDREN]
    ]
    return ", ".join([*told, *(["…"] if len(children) > CHILDREN else [])])


def facts(
    job: Job, children: Sequence[Relative] = (), saved: Sequence[Checkpoint] = ()
) -> Iterator[tuple[str, Text | str]]:
    """Name and value of each line; empty values are left out."""
    yield "job", job.id
    yield "name", job.name
    yield from noted(job)
    yield "state", state_of(job)
    yield "reason", "" if job.reason == job.state else job.reason
    yield from waits(job, "agon edit")
    yield "to go on", to_go_on(job)
    yield from times(job)
    yield "failure", f"{job.failure.kind}: {job.failure.reason}" if job.failure else ""
    yield "its log", _failed_log(job)
    if progress := job.progress:
        total = progress.total_images or 0
        yield "progress", f"{progress.share:.0%}: step {progress.step}, {progress.images:,} of {total:,} images"
        if job.state in TRAINS:  # else nothing has this speed now
            speed = f"{progress.images_per_second:,.0f} images/s" if progress.images_per_second else ""
            yield "speed", f"{speed}, ETA {seconds(progress.eta_seconds)}" if speed else ""
        minimised, measured = losses(progress.metrics)
        yield "losses", figures(minimised)
        yield "measured", figures(measured)
        yield "scores", score(job)
    if job.model:
        champion = " (champion)" if job.model.champion else ""
        yield "model", f"models:/{job.model.name}/{job.model.version}{champion}: {job.model.verdict}"
    yield "checkpoints", checkpoints(saved)
    yield "began with", begun(job.fork) if job.fork else ""
    yield "trial", job.trial or ""
    yield "forks", forks(children)
    yield "attempt", str(job.attempt)
    yield "mlflow run", job.mlflow_run_id or ""
    yield "submitted", f"{ago(job.created_at)}"
    if job.started_at and job.finished_at:
        yield "took", seconds((job.finished_at - job.started_at).total_seconds())
    yield "digest", job.spec_digest


def noted(run: Run) -> Iterator[tuple[str, str]]:
    """Whose it is, its labels and notes."""
    yield "owner", run.owner
    yield "labels", ", ".join(f"{name}={value}" for name, value in run.labels.items())
    yield "notes", run.notes


def _failed_log(job: Job) -> str:
    """What is typed for the log that says why it failed."""
    if job.failure is None or job.attempt == 0:
        return ""
    rank = "" if job.failure.rank is None else f" --rank {job.failure.rank}"
    return f"agon logs {job.id} --attempt {job.attempt}{rank}"


def to_go_on(job: Job) -> str:
    """What to type for a job that rests."""
    if job.state == "cancelled" and job.limit:
        raised = f"agon edit {job.id} --set limits.{job.limit}=…, then " if job.limit != "wait" else ""
        return f"{raised}agon retry {job.id}"
    return f"agon resume {job.id}" if job.state == "paused" else ""


def times(run: Run) -> Iterator[tuple[str, str]]:
    """What it has used, and when something happens to it by itself."""
    used = run.usage
    waits = (datetime.now(UTC) - run.queued_at).total_seconds() if run.queued_at else 0.0
    parts = [f"{seconds(used.queue_seconds + waits)} in the queue", f"{seconds(used.run_seconds)} on the cluster"]
    hours = {"CPU": used.cpu_seconds / 3600, "GPU": used.accelerator_seconds / 3600}
    parts += [f"{value:.3g} {name}-hours" for name, value in hours.items() if value]
    yield "used", ", ".join(parts)
    if used.planned_cpu_seconds is not None:
        gpus = f", {used.planned_accelerator_seconds / 3600:.3g} GPU-hours" if used.planned_accelerator_seconds else ""
        rests = PLANNED_BY.get(used.planned_by, "")
        yield "planned", f"{used.planned_cpu_seconds / 3600:.3g} CPU-hours{gpus}{rests}"
    yield "next try", until(run.next_try_at)
    yield "stopped", until(run.stop_at)
    yield "ends", f"{until(run.ends_at)}, by its limits" if run.ends_at and not run.ended else ""


def none_match(what: str, filters: Mapping[str, str | Sequence[str] | None], others: int, more: bool) -> str:
    """Why a list is empty though there is something to list: `no job matches --state failed; there are 3 others`."""
    words = {option: [given] if isinstance(given, str) else given or () for option, given in filters.items()}
    given = " ".join(f"{option} {value}" for option, values in words.items() for value in values)
    count = f"{others} or more" if more else str(others)
    return f"no {what} matches {given}; there {'is 1 other' if others == 1 and not more else f'are {count} others'}"
