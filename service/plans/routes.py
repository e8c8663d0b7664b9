"""What a job would cost."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from service.access.callers import Away, user
from service.bodies.jobs import PlanRequest
from service.context import Context, Ctx
from service.elsewhere import Errand
from service.errors import NOT_CONFIGURED, Invalid, Problem, Unavailable
from service.plans import preflight
from service.plans.planner import Planner, PlannerBusyError
from service.plans.remote import RemotePlanner
from service.specs import draft
from trainer.plan.child import PlanFailedError
from trainer.plan.devices import Device, cpu, find
from trainer.plan.result import Plan
from trainer.spec import FieldError, JobSpec, SpecError

WAIT_SECONDS = 10.0
"""How long one request waits for its plan; shorter than clients wait for an answer."""
router = APIRouter(prefix="/v1/plans", tags=["plans"], dependencies=[Depends(user)])


@router.post("")
async def make(body: PlanRequest, ctx: Ctx, errand: Away) -> Plan:
    """Parameters, FLOPs, memory by part, traffic and time of a job, before it runs; nothing starts.

    Takes some seconds, and is remembered. 503 with Retry-After if it isn't ready after ten: ask again. Where the API has no torch it is
    made on the cluster, as soon as there is room for what makes it.
    """
    planner, remote = ctx.of(Planner), ctx.of(RemotePlanner)
    if not (planner.able or remote.able):
        raise Unavailable(
            "this API runs where torch is not installed, and AGON_SERVE is off; `agon plan` makes plans where the trainer is",
            headers=NOT_CONFIGURED,
        )
    spec = await draft.resolve(body, ctx, errand)
    device, here = await _device(body.gpu, spec, ctx, errand)
    world = body.gpus or spec.resources.workers
    if not planner.able:
        return await remote.plan(spec, world, device, errand)
    try:
        return await planner.plan(spec, world, device, WAIT_SECONDS, here=here)
    except SpecError as error:
        raise Invalid(error.errors, "spec") from error
    except (TimeoutError, PlannerBusyError) as error:
        raise Unavailable(str(error), headers={"Retry-After": "1"}) from error
    except PlanFailedError as error:
        raise Problem(f"the planning process ended without a plan: {error}") from error


async def _device(name: str | None, spec: JobSpec, ctx: Context, errand: Errand) -> tuple[Device, bool]:
    """The device that was named, else the cluster's, and whether it is that. Raises Invalid for a name that is not known."""
    if name is not None:
        try:
            return find(name), False
        except ValueError as error:
            raise Invalid([FieldError(path="gpu", message=str(error), value=name)]) from error
    found = await preflight.device_of(spec, ctx, errand)
    return found or (find("h100") if spec.resources.gpus_per_worker else cpu()), found is not None
