"""A job that can't fit is refused when it is submitted, if that is known in time; its driver checks again before it trains."""

from __future__ import annotations

import logging
import time

from service.context import Context
from service.errors import Invalid
from service.gateway.ray_jobs import RayUnreachableError
from trainer.plan.child import PlanFailedError
from trainer.spec import JobSpec, SpecError

logger = logging.getLogger("agon.plans")


def check(spec: JobSpec, ctx: Context) -> None:
    """Raises Invalid, naming the micro-batch that would fit. Returns after `preflight_seconds` at the latest, or Ray's answer."""
    began = time.monotonic()
    try:
        error = ctx.plans.refusal(
            spec, lambda: [node.resources for node in ctx.ray.nodes()], ctx.settings.preflight_seconds
        )
    except (TimeoutError, RayUnreachableError):
        return
    except (PlanFailedError, SpecError) as failure:
        logger.error("no plan of job %s after %.1f s: %s", spec.name, time.monotonic() - began, failure)
        return
    if error is not None:
        raise Invalid([error], "spec")
