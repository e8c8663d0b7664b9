"""A fork whose nets can't begin with the weights that it would take is refused when it is submitted, if that is known in time; its
driver looks again before it trains."""

from __future__ import annotations

import logging

from service.context import Context
from service.errors import Invalid
from service.plans.planner import Planner, PlannerBusyError
from service.specs.onward import Origin
from trainer.origin.child import ShapesFailedError
from trainer.origin.fit import Part, fit, nets_of, same
from trainer.origin.judge import are_same
from trainer.spec import JobSpec, SpecError

PATIENCE = 4
"""How many times `preflight_seconds` it waits: whoever changes nets needs the list, and few do."""
logger = logging.getLogger("agon.plans")


async def check(origin: Origin | None, spec: JobSpec, ctx: Context) -> None:
    """Raises Invalid that lists every parameter which doesn't fit and isn't to start anew.

    Nets of the checkpoint's own arch have its shapes, and nobody is asked; of others they are known within `PATIENCE`, or by the driver.
    """
    if origin is None or origin.taken is None or origin.fork is None or origin.fork.mode == "state":
        return
    saved = nets_of(origin.taken.saved)
    expected = same(saved) if are_same(spec, origin.taken.facts.spec, saved) else await _parts(spec, ctx)
    if expected is not None and (problems := fit(expected, saved, origin.fork.restart).problems):
        raise Invalid(problems)


async def _parts(spec: JobSpec, ctx: Context) -> dict[str, Part] | None:
    """Of nets of another arch; None if it isn't known in time."""
    planner, wait = ctx.of(Planner), PATIENCE * ctx.settings.preflight_seconds
    if wait <= 0 or not planner.able:
        return None
    try:
        return dict(await planner.parts(spec, wait))
    except SpecError as error:
        raise Invalid(error.errors, "spec") from error
    except (TimeoutError, PlannerBusyError):
        return None
    except ShapesFailedError as failure:
        logger.error("the shapes of job %s's nets aren't known: %s", spec.name, failure)
        return None
