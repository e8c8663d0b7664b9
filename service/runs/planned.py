"""What a run will use, as far as that is known when it is submitted: to be held against what it has used.

It rests on a plan that this server made of the very spec for the cluster's devices; else on how long the runs took that are like it
(`service.runs.spans`), in the middle of their range; a search's trials are taken to train to their end. It is never more than the run's
limits allow, and where these alone are known it is that. Pure, but for `write` and `edited`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from service.db.tables import Job
from service.runs import lines, spans
from service.runs.kinds import base_of, kind_of
from service.runs.limits import HOUR, limits_of
from service.runs.spans import Pace

PLAN, RUNS, LIMIT = "plan", "runs", "limit"
"""What it rests on."""


class Planned(NamedTuple):
    """Over all workers, and of a search over all trials."""

    cpu_seconds: float
    accelerator_seconds: float
    by: str


def planned(spec: Mapping[str, Any], pace: Pace | None, plan: float | None, begun: int = 0) -> Planned | None:
    """Of a job's or a search's stored spec; None: nothing is known.

    pace: of runs like the job, or the trials. plan: seconds of one training, by its plan. begun: images that were shown before it began.
    """
    base, trials, at_once = base_of(spec), 1.0, 1
    resources, images = base["resources"], float(base["train"]["images"])
    if base is not spec:
        trials, at_once = _trials(spec, images)
    whole = plan if plan is not None else None if pace is None else images * math.sqrt(pace.low * pace.high)
    seconds = math.inf if whole is None else trials * whole * max(0.0, images - begun) / images
    allowed = _allowed(spec, at_once, float(resources["gpus_per_worker"]), int(resources["workers"]))
    if min(seconds, allowed) == math.inf:
        return None
    by = LIMIT if allowed < seconds else PLAN if plan is not None else RUNS
    workers = min(seconds, allowed) * resources["workers"]
    return Planned(workers * resources["cpus_per_worker"], workers * resources["gpus_per_worker"], by)


def _trials(search: Mapping[str, Any], images: float) -> tuple[float, int]:
    """How many full trials, and how many at once."""
    trials, most = int(search["trials"]), search["budget"]["images"]
    at_once = trials if search["algorithm"] == "pbt" else min(trials, int(search["max_concurrent"]))
    return (trials if most is None else min(trials, most / images)), at_once


def _allowed(spec: Mapping[str, Any], at_once: int, gpus: float, workers: int) -> float:
    """Seconds of training, over all trials, that limits and budget leave."""
    limits, budget = limits_of(spec), spec.get("budget", {}).get("seconds")
    found = [at_once * each for each in (limits.run, limits.wall, budget) if each is not None]
    if limits.accelerator_hours is not None and gpus:
        found.append(limits.accelerator_hours * HOUR / (gpus * workers))
    return min(found, default=math.inf)


def write(asked: Connection | Session, job: Job, plan: float | None = None) -> None:
    """Note it in the row, by its spec as it is now."""
    base = base_of(job.spec)
    pace = spans.pace(lines.lengths(asked, job.family), base["name"]) if plan is None else None
    fork = job.fork if job.fork and job.fork["mode"] == "state" and not kind_of(job).has_trials else None
    _note(job, planned(job.spec, pace, plan, fork["images"] if fork else 0))


def edited(session: Session, job: Job, *, resources: bool) -> None:
    """The same of one whose spec has changed. A plan holds as long as the resources are those that it was made for."""
    if job.planned_by != PLAN or resources:
        write(session, job)
        return
    bound = planned(job.spec, None, None)
    if bound is not None and (bound.cpu_seconds, bound.accelerator_seconds) < (
        job.planned_cpu_seconds or 0.0, job.planned_accelerator_seconds or 0.0,
    ):  # fmt: skip
        _note(job, bound)


def _note(job: Job, found: Planned | None) -> None:
    job.planned_cpu_seconds = found.cpu_seconds if found else None
    job.planned_accelerator_seconds = found.accelerator_seconds if found else None
    job.planned_by = found.by if found else ""
