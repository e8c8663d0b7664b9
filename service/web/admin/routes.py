"""Administration: tokens, people, the disk, and whether all parts work. Users see what is theirs, administrators all, as in REST."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from service import health, tallies
from service.access import rules
from service.access import store as tokens
from service.access.callers import Away, User
from service.access.tokens import BOOTSTRAP, Scope
from service.bodies.disk import Disk
from service.bodies.owners import EVERYONE, OWNER
from service.bodies.usage import By
from service.context import Context, Ctx
from service.disk.routes import look
from service.errors import Forbidden, Unavailable
from service.owners import store as owners
from service.owners.accounts import prices
from service.runs import accounts, served
from service.serving.asker import Asker
from service.serving.states import shown as served_state
from service.web.admin.tabs import page

router = APIRouter(include_in_schema=False)
MOST = 500
"""Rows of a table; who has more narrows it."""
LARGEST = 100
"""So many names of runs are told of what somebody has used."""
Whose = Annotated[str | None, Query(max_length=64)]
Name = Annotated[str, Path(pattern=OWNER)]


@router.get("/admin")
async def first(caller: User) -> Response:
    """The first tab."""
    return RedirectResponse("/admin/tokens", 303, {"Cache-Control": "no-store"})


@router.get("/admin/tokens")
def show_tokens(request: Request, caller: User, ctx: Ctx, owner: Whose = None) -> Response:
    """One's own, for administrators all or one person's. Their secrets are nowhere."""
    whose = (owner or None) if caller.scope is Scope.ADMIN else caller.owner
    with ctx.db.read() as session:
        rows = tokens.people(session, whose)
    now = datetime.now(UTC)
    return page(
        request, caller, "tokens", rows=rows[:MOST], more=len(rows) - MOST, whose=owner or "", bootstrap=BOOTSTRAP, own=caller.id, today=now,
        grants=[scope for scope in rules.ROLES if rules.may_grant(caller.scope, caller.owner, scope, caller.owner)],
        days=ctx.settings.token_days,
    )  # fmt: skip


@router.get("/admin/people")
def show_people(request: Request, caller: User, ctx: Ctx) -> Response:
    """Everyone, for administrators; for others themselves."""
    if caller.scope is not Scope.ADMIN:
        return RedirectResponse(f"/admin/people/{caller.owner}", 303, {"Cache-Control": "no-store"})
    with ctx.db.read() as session:
        people = owners.owners(session)
        used = accounts.of(session, accounts.Asked(By.OWNER), len(people) + 1, prices(ctx.settings))
    by_name = {item.name: item for item in used.items}
    return page(request, caller, "people", people=people[:MOST], more=len(people) - MOST, used=by_name, total=used)


@router.get("/admin/people/{name}")
def show_person(request: Request, caller: User, ctx: Ctx, name: Name) -> Response:
    """One: role, caps, what they have and have used."""
    if caller.scope is not Scope.ADMIN and name != caller.owner:
        raise Forbidden("only an administrator sees what others have; /admin/people shows what you have")
    with ctx.db.read() as session:
        person = owners.owner(session, name, ctx.settings.fair_share_hours)
        used = accounts.of(session, accounts.Asked(By.NAME, name), LARGEST, prices(ctx.settings))
    return page(
        request, caller, "people", "person", person=person, used=used, everyone=EVERYONE, caps=CAPS, roles=rules.ROLES
    )


@router.get("/admin/disk")
async def show_disk(request: Request, caller: User, ctx: Ctx, errand: Away) -> Response:
    """How full it is and with what; administrators look for what could go, and have it removed."""
    disk, why = await _disk(ctx, errand)
    return page(request, caller, "disk", disk=disk, why=why)


@router.get("/admin/health")
async def show_health(request: Request, caller: User, ctx: Ctx) -> Response:
    """Each part that this server needs, and whether it answers."""
    found = await health.look(ctx)
    places: list[Any] = await run_in_threadpool(_served, ctx) if found.ready else []
    lag = next(iter(tallies.LAG.collect())).samples[0].value
    return page(
        request, caller, "health", found=found, places=places, uses=served.WORDS, serve=ctx.settings.serve,
        lag=None if lag < 0 or math.isnan(lag) else lag, own=ctx.settings.reconciler, webhooks=ctx.settings.webhooks,
    )  # fmt: skip


CAPS = (
    ("running", "Runs on the cluster"),
    ("workers", "Workers of those"),
    ("gpus", "GPUs of those"),
    ("gpu_hours_week", "GPU-hours within seven days"),
    ("waiting", "Runs in the queue"),
)
"""What there may be most of, with captions."""


async def _disk(ctx: Context, errand: Any) -> tuple[Disk | None, str]:
    try:
        return await ctx.elsewhere.disk.run(look, ctx, True, errand=errand), ""
    except Unavailable as problem:
        return None, problem.detail


def _served(ctx: Context) -> list[Any]:
    places = ctx.of(Asker).places
    now = places.now()
    return [served_state(place, now, ctx.settings.serve_idle_seconds) for place in places.all()]
