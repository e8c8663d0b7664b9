"""Whether a job can fit this cluster, asked by its driver before it trains: what the API could not tell in time."""

from __future__ import annotations

import ray

from trainer.launch import log
from trainer.plan.child import PlanFailedError, plan_in_child
from trainer.plan.preflight import needs_plan, place, refusal
from trainer.spec import JobSpec, SpecError

SECONDS = 120.0
"""Limit of the plan; a job whose plan takes longer trains."""


def refused(spec: JobSpec) -> str | None:
    """Why the job can't fit any of the cluster's machines, with the micro-batch that would; None if nothing is known against it."""
    if not needs_plan(spec):
        return None
    device = place(spec.resources, [node["Resources"] for node in ray.nodes() if node["Alive"]])
    if device is None or not needs_plan(spec, device):
        return None
    try:
        error = refusal(plan_in_child(spec, world=spec.resources.workers, device=device, seconds=SECONDS))
    except (TimeoutError, PlanFailedError, SpecError) as failure:
        log.say(f"no plan of this job: {failure}")
        return None
    return error.line() if error is not None else None
