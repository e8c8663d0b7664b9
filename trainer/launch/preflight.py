"""Whether a job can fit this cluster, and its nets what they are to begin with, asked by its driver before it trains: what the API
could not tell in time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ray

from trainer.launch import log
from trainer.nodes import NodeShape, missing, of_ray
from trainer.origin.child import ShapesFailedError, parts_in_child
from trainer.origin.judge import misfits, summary
from trainer.origin.place import begins, held
from trainer.plan.child import PlanFailedError, plan_in_child
from trainer.plan.preflight import needs_plan, place, refusal
from trainer.spec import JobSpec, SpecError
from trainer.wire import JobFile

SECONDS = 120.0
"""Limit of the plan; a job whose plan takes longer trains."""


def refused(spec: JobSpec, shapes: Sequence[NodeShape] = ()) -> str | None:
    """Why the job can't fit any of the cluster's machines, with the micro-batch that would; None if nothing is known against it.

    shapes: nodes that an autoscaler may start.
    """
    if not needs_plan(spec):
        return None
    alive = [node for node in ray.nodes() if node["Alive"]]
    more = missing(shapes, [of_ray(node) for node in alive])
    device = place(spec.resources, [node["Resources"] for node in alive], more)
    if device is None or not needs_plan(spec, device):
        return None
    try:
        error = refusal(plan_in_child(spec, world=spec.resources.workers, device=device, seconds=SECONDS))
    except (TimeoutError, PlanFailedError, SpecError) as failure:
        log.say(f"no plan of this job: {failure}")
        return None
    return error.line() if error is not None else None


def unfit(job: JobFile) -> str | None:
    """Why its nets can't begin with the weights that it took, with every parameter; None if nothing is known against it.

    Raises CheckpointError for a checkpoint that can't be read.
    """
    fork, checkpoint = job.fork, held(Path(job.job_dir))
    if fork is None or fork.mode != "weights" or checkpoint is None or not begins(Path(job.job_dir)):
        return None
    try:
        errors = misfits(job.spec, checkpoint, fork.restart, lambda: parts_in_child(job.spec, seconds=SECONDS))
    except (TimeoutError, ShapesFailedError, SpecError, FileNotFoundError) as failure:
        log.say(f"it isn't known whether the checkpoint fits: {failure}")
        return None
    return f"{fork.parent} at step {fork.step} does not fit the new nets: {summary(errors)}" if errors else None
