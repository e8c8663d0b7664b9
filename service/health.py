"""Whether this process lives, and whether it can do its work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import text

from service.context import Context, Ctx

router = APIRouter(tags=["health"])


class Part(BaseModel):
    """One part that the API depends on."""

    state: Literal["ok", "unreachable", "off"]
    reason: str = ""


class Readiness(BaseModel):
    """`ready`: the database answers. Without Ray or MLflow the API still takes jobs, so they don't count."""

    ready: bool
    database: Part
    ray: Part
    mlflow: Part


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process is alive."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"model": Readiness}})
async def readyz(ctx: Ctx) -> JSONResponse:
    """Each part with its state; 503 while the database is away."""
    found = await look(ctx)
    if found.ready:
        return JSONResponse(found.model_dump())
    return JSONResponse(found.model_dump(), 503, headers={"Retry-After": "5"})


async def look(ctx: Context) -> Readiness:
    """How it is now; no part is waited for long."""
    database, ray, mlflow = await asyncio.gather(
        _part(ctx, "database", partial(_ping_database, ctx)),
        _part(ctx, "Ray", ctx.ray.ping),
        _part(ctx, "MLflow", ctx.registry.ping if ctx.registry else None),
    )
    if database.state != "ok":
        database.reason = "the database can't be reached; the server's log says why"
    return Readiness(ready=database.state == "ok", database=database, ray=ray, mlflow=mlflow)


def _ping_database(ctx: Context) -> None:
    with ctx.db.read() as session:
        session.execute(text("SELECT 1"))


async def _part(ctx: Context, name: str, ping: Callable[[], object] | None) -> Part:
    if ping is None:
        return Part(state="off", reason="AGON_MLFLOW_URI is not set")
    try:
        await ctx.elsewhere.pulses[name].feel(ping)
    except Exception as error:
        return Part(state="unreachable", reason=str(error)[:500])
    return Part(state="ok")
