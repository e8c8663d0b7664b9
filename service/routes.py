"""All endpoints, in the order in which they are looked at."""

from __future__ import annotations

from functools import cache

from fastapi import APIRouter, Depends
from starlette.routing import BaseRoute

from service import docs, errors, health
from service.access import callers, login
from service.access import routes as access_routes
from service.audit import routes as audit_routes
from service.cluster import routes as cluster_routes
from service.datasets import routes as dataset_routes
from service.disk import routes as disk_routes
from service.events import routes as event_routes
from service.jobs import checkpoints as job_checkpoints
from service.jobs import curves as job_curves
from service.jobs import logs as job_logs
from service.jobs import routes as job_routes
from service.jobs import samples as job_samples
from service.models import routes as model_routes
from service.monitoring import routes as monitoring_routes
from service.owners import accounts as usage_routes
from service.owners import routes as owner_routes
from service.plans import routes as plan_routes
from service.searches import checkpoints as trial_checkpoints
from service.searches import logs as search_logs
from service.searches import routes as search_routes
from service.searches import samples as trial_samples
from service.serving import routes as serving_routes
from service.specs import routes as recipe_routes
from service.web import routes as web_routes
from service.webhooks import routes as webhook_routes

PARTS = (
    job_routes,
    job_logs,
    job_samples,
    job_checkpoints,
    job_curves,
    search_routes,
    search_logs,
    trial_samples,
    trial_checkpoints,
    event_routes,
    plan_routes,
    recipe_routes,
    dataset_routes,
    model_routes,
    serving_routes,
    cluster_routes,
    disk_routes,
    access_routes,
    login,
    owner_routes,
    usage_routes,
    audit_routes,
    webhook_routes,
    monitoring_routes,
    health,
    docs,
    *web_routes.PARTS,
)


def all_routes() -> list[BaseRoute]:
    """Each as it was written."""
    return [route for part in PARTS for route in part.router.routes]


def shared() -> list[BaseRoute]:
    """As an application takes them in, behind the check of who may call what."""
    return list(_shared())


@cache
def _shared() -> tuple[BaseRoute, ...]:
    """All applications of a process have the same: what FastAPI derives of a hundred signatures at their first request takes 0.5 s."""
    every = APIRouter(dependencies=[Depends(callers.permitted)])
    for part in PARTS:
        every.include_router(part.router, responses=errors.RESPONSES)
    return tuple(every.routes)
