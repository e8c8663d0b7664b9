"""`GET /metrics`."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool

from service.access.callers import Away, User
from service.context import Context, Ctx
from service.disk.gauge import Gauge
from service.errors import BUSY
from service.monitoring.exposition import Found, exposition
from service.monitoring.facts import Facts, Reader

router = APIRouter(tags=["monitoring"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(ctx: Ctx, caller: User, errand: Away) -> Response:
    """Counts, sizes and times for Prometheus, in its text format: of all runs from the database, of requests and changes of this process."""
    try:
        await ctx.elsewhere.pulses["Ray"].feel(ctx.ray.ping)
        up = True
    except Exception:
        up = False
    try:
        disk = await ctx.elsewhere.disk.run(_disk, ctx, errand=errand)
    except Exception:
        disk = {}
    facts = await run_in_threadpool(_facts, ctx)
    return Response(exposition(Found(facts, up, disk)), media_type=CONTENT_TYPE_LATEST)


def _disk(ctx: Context) -> dict[str, float]:
    gauge = ctx.of(Gauge)
    fill, count = gauge.fill(), gauge.count()
    sizes = {} if count is None else {what: float(size) for what, size in count.sizes.items()}
    return {"total": float(fill.total), "free": float(fill.free), **sizes}


def _facts(ctx: Context) -> Facts | None:
    try:
        return ctx.of(Reader).read()
    except BUSY:
        return None
