"""What a job would cost."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from service.auth.access import user
from service.context import Context, Ctx
from service.errors import Invalid, Problem, Unavailable
from service.gateway.ray_jobs import RayUnreachableError
from service.jobs import draft
from service.plans.schemas import PlanRequest
from trainer.plan.child import PlanFailedError
from trainer.plan.devices import Device, cpu, find
from trainer.plan.preflight import place
from trainer.plan.result import Plan
from trainer.spec import FieldError, JobSpec, SpecError

WAIT_SECONDS = 10.0
"""How long one request waits for its plan; shorter than clients wait for an answer."""
router = APIRouter(prefix="/v1/plans", tags=["plans"], dependencies=[Depends(user)])


@router.post("")
def make(body: PlanRequest, ctx: Ctx) -> Plan:
    """Parameters, FLOPs, memory by part, traffic and time of a job, before it runs; nothing starts.

    Takes some seconds, and is remembered. 503 with Retry-After if it isn't ready after ten: ask again.
    """
    if not ctx.plans.able:
        raise Unavailable("this API runs where torch is not installed; `agon plan` makes plans where the trainer is")
    spec = draft.resolve(body, ctx.db, ctx.settings)
    device = _device(body.gpu, spec, ctx)
    try:
        return ctx.plans.plan(spec, body.gpus or spec.resources.workers, device, WAIT_SECONDS)
    except SpecError as error:
        raise Invalid(error.errors, "spec") from error
    except TimeoutError as error:
        raise Unavailable(str(error), headers={"Retry-After": "1"}) from error
    except PlanFailedError as error:
        raise Problem(f"the planning process ended without a plan: {error}") from error


def _device(name: str | None, spec: JobSpec, ctx: Context) -> Device:
    """The device that was named, else the cluster's. Raises Invalid for a name that is not known."""
    if name is not None:
        try:
            return find(name)
        except ValueError as error:
            raise Invalid([FieldError(path="gpu", message=str(error), value=name)]) from error
    try:
        found = place(spec.resources, [node.resources for node in ctx.ray.nodes()])
    except RayUnreachableError:
        found = None
    return found or (find("h100") if spec.resources.gpus_per_worker else cpu())
