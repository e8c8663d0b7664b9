"""The disk that runs lie on: how full it is, and collecting what nobody needs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from service.access.callers import Admin, Away, User
from service.bodies.disk import Collect, Collected, Disk
from service.context import Context, Ctx
from service.disk import watch
from service.disk.gauge import Gauge
from service.disk.gc import Collector
from service.elsewhere import Errand
from service.errors import Unavailable

router = APIRouter(tags=["disk"])


@router.get("/v1/disk")
async def show(
    ctx: Ctx,
    caller: User,
    errand: Away,
    sizes: Annotated[bool, Query(description="Also what takes how much; false answers at once.")] = True,
) -> Disk:
    """How full the disk is that the folders of runs lie on, and what takes how much of it."""
    return await ctx.elsewhere.disk.run(look, ctx, sizes, errand=errand)


def look(ctx: Context, sizes: bool) -> Disk:
    """In a thread: a disk may hang. Raises Unavailable."""
    gauge = ctx.of(Gauge)
    try:
        fill, count = gauge.fill(), gauge.count() if sizes else None
    except OSError as error:
        raise Unavailable(
            f"the disk of {ctx.settings.jobs_root} can't be looked at: {error.strerror or error}"
        ) from error
    low = fill.is_low(ctx.settings.disk_low)
    return Disk(
        path=str(ctx.settings.jobs_root),
        total=fill.total,
        free=fill.free,
        low=low,
        warning=watch.warning(fill) if low else "",
        sizes=count.sizes if count is not None else None,
        counted_at=count.at if count is not None else None,
    )


@router.post("/v1/gc")
async def collect(body: Collect, ctx: Ctx, caller: Admin, errand: Away) -> Collected:
    """Remove what nobody needs; with `dry_run`, which is the default, only say what would go, how large it is, and why.

    Of runs that have ended: checkpoints that neither their spec nor the server's policy keeps, leftovers of processes that died
    and, if asked, old sample grids. What deletions left that broke off. Never what is pinned, what a fork began with, or what
    a registered version needs. A call looks at some runs; `next_cursor` goes on. For administrators.
    """
    collector = Collector(ctx.db, ctx.settings, ctx.registry, body)
    return await ctx.elsewhere.collection.run(collector.run, errand=Errand(errand.caller))
