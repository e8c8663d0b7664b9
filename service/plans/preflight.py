"""A job that can't fit is refused when it is submitted, if that is known in time; its driver checks again before it trains."""

from __future__ import annotations

import logging
import time

from service.context import Context
from service.elsewhere import Errand
from service.errors import Invalid, Unavailable
from service.gateway.ray_jobs import RayUnreachableError
from service.plans.planner import Planner, PlannerBusyError
from trainer.nodes import missing
from trainer.plan.child import PlanFailedError
from trainer.plan.devices import Device
from trainer.plan.preflight import needs_plan, place, refusal
from trainer.spec import JobSpec, SpecError

logger = logging.getLogger("agon.plans")


async def check(spec: JobSpec, ctx: Context, errand: Errand) -> None:
    """Raises Invalid, naming the micro-batch that would fit. Returns after `preflight_seconds` at the latest, or Ray's answer.

    Most jobs are plainly small, and nobody is asked.
    """
    wait, began, planner = ctx.settings.preflight_seconds, time.monotonic(), ctx.of(Planner)
    if wait <= 0 or not planner.able or not needs_plan(spec):
        return
    try:
        device = await device_of(spec, ctx, errand)
        if device is None or not needs_plan(spec, device):
            return
        error = refusal(await planner.plan(spec, spec.resources.workers, device, wait, here=True))
    except (TimeoutError, PlannerBusyError):
        return
    except (PlanFailedError, SpecError) as failure:
        logger.error("no plan of job %s after %.1f s: %s", spec.name, time.monotonic() - began, failure)
        return
    if error is not None:
        raise Invalid([error], "spec")


def seconds(spec: JobSpec, ctx: Context) -> float | None:
    """How long it trains on the cluster's devices, if someone had a plan of it made; nobody waits for one."""
    plan = ctx.of(Planner).known(spec)
    return None if plan is None else plan.time.hours * 3600


async def device_of(spec: JobSpec, ctx: Context, errand: Errand) -> Device | None:
    """The cluster's device that would run it, or that of a node which may be started; None if it isn't known."""
    try:
        nodes = await ctx.elsewhere.ray.run(ctx.ray.nodes, errand=errand)
    except (RayUnreachableError, Unavailable):
        return None
    more = missing(ctx.settings.max_nodes, [(node.group, node.cpus, node.gpus) for node in nodes])
    return place(spec.resources, [node.resources for node in nodes], more)
