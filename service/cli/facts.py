"""What is said of a job or search that was asked for: its facts, one a line, and why a list is empty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.text import Text

from service.cli.output import ago, seconds, state

if TYPE_CHECKING:
    from service.client import Job
    from service.client.replies import Run

WISHES = {"stop": "cancelling", "pause": "pausing"}
TRAINS = ("running", "stopping")


def wish(run: Run) -> str:
    """What someone has asked for and is not carried out yet; empty if nothing is."""
    carried_out = run.ended or run.state in ("stopping", "paused")
    return "" if carried_out else WISHES.get(run.desired, "")


def state_of(run: Run) -> Text:
    """Its state, and what it is asked to become: `running, cancelling …`."""
    asked = wish(run)
    return Text.assemble(state(run.state), (f", {asked} …", "yellow")) if asked else state(run.state)


def done(job: Job) -> str:
    """`15%`."""
    return f"{job.progress.share:.0%}" if job.progress else "–"


def score(job: Job) -> str:
    """Its scores in one line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in job.progress.scores.items()) if job.progress else ""


def losses(metrics: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """What the players minimise, `D/loss`, and all else that a step measures: accuracies, penalties."""
    told = {name: float(value) for name, value in metrics.items()}
    found = {name: value for name, value in told.items() if name.rpartition("/")[2] == "loss"}
    return found, {name: value for name, value in told.items() if name not in found}


def figures(metrics: Mapping[str, float]) -> str:
    """`D/loss 0.5, G/loss 1.25`."""
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def facts(job: Job) -> Iterator[tuple[str, Text | str]]:
    """Name and value of each line; empty values are left out."""
    yield "job", job.id
    yield "name", job.name
    yield "state", state_of(job)
    yield "reason", job.reason or ""
    yield "failure", f"{job.failure.kind}: {job.failure.reason}" if job.failure else ""
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
    yield "trial", job.trial or ""
    yield "attempt", str(job.attempt)
    yield "mlflow run", job.mlflow_run_id or ""
    yield "submitted", f"{ago(job.created_at)}"
    if job.started_at and job.finished_at:
        yield "took", seconds((job.finished_at - job.started_at).total_seconds())
    yield "digest", job.spec_digest


def none_match(what: str, filters: Mapping[str, str | None], others: int, more: bool) -> str:
    """Why a list is empty though there is something to list: `no job matches --state failed; there are 3 others`."""
    given = " ".join(f"{option} {value}" for option, value in filters.items() if value is not None)
    count = f"{others} or more" if more else str(others)
    return f"no {what} matches {given}; there {'is 1 other' if others == 1 and not more else f'are {count} others'}"
