"""The queue: who runs and with what, who waits behind whom and why, when each starts, and what of the cluster is free."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from service.access.callers import Away, User
from service.bodies.serving import Served
from service.context import Context, Ctx
from service.elsewhere import Errand
from service.errors import Unavailable
from service.gateway.ray_jobs import Node, RayUnreachableError
from service.runs import served
from service.runs.growth import kinds
from service.serving.asker import Asker
from service.serving.states import shown as served_state
from service.web import frame
from service.web.frame import View
from service.web.queue import lineup
from service.web.queue.lineup import PAGE, RESTING, RUNNING, Lineup

router = APIRouter(include_in_schema=False)
Id = Annotated[str, Query(max_length=40, pattern=r"^[a-z0-9-]+$")]
On = Annotated[list[Id], Query(default_factory=list, max_length=RUNNING)]
Waits = Annotated[list[Id], Query(default_factory=list, max_length=PAGE + RESTING)]
From = Annotated[int, Query(alias="from", ge=1, le=1_000_000)]
RAY_SECONDS = 1.5
"""So long the page waits for Ray, where no reconciler has looked of late."""
SURE = {"likely": "by how long others like those ahead took", "open": "nobody knows how long some of those ahead take"}
"""What a start that nobody tells for sure rests on."""


@router.get("/queue")
async def show(
    request: Request, caller: User, ctx: Ctx, errand: Away, on: On, waits: Waits, begin: From = 1, seen: bool = False
) -> Response:
    """The line from a place on. `seen`, with the ids of `on` and `waits`: as a page asks that is looked at already."""
    shown = (on, waits) if seen else None
    line, places = await asyncio.gather(run_in_threadpool(_read, ctx, begin, shown), run_in_threadpool(_served, ctx))
    nodes = line.nodes if line.nodes is not None else await _nodes(ctx, errand)
    more = [] if isinstance(nodes, str) else kinds(nodes)
    nodes = nodes if isinstance(nodes, str) else [node for node in nodes if node.state == "there"]
    runs, waiting = line.ids if shown is None else shown
    view = View(
        title="Queue", section="/queue", events="states=true", look=_look(begin, runs, waiting), pause=5, scripts=()
    )
    return frame.page(
        request, caller, "queue/page.html", view, line=line, nodes=nodes, more=more, served=places, enabled=ctx.settings.serve,
        changed=shown is not None and line.ids != (tuple(on), tuple(waits)), sure=SURE, page=PAGE, most_nodes=lineup.NODES,
        told_to=lineup.TOLD, change_words=lineup.change_words, uses=served.WORDS,
    )  # fmt: skip


def _read(ctx: Context, begin: int, shown: tuple[Sequence[str], Sequence[str]] | None) -> Lineup:
    with ctx.db.read() as session:
        return lineup.read(session, datetime.now(UTC), begin, shown)


def _served(ctx: Context) -> list[Served]:
    places = ctx.of(Asker).places
    now = places.now()
    return [served_state(place, now, ctx.settings.serve_idle_seconds) for place in places.all()]


async def _nodes(ctx: Context, errand: Errand) -> list[Node] | str:
    """What Ray says now, or why nothing is known."""
    try:
        return await asyncio.wait_for(ctx.elsewhere.ray.run(ctx.ray.nodes, errand=errand), RAY_SECONDS)
    except (RayUnreachableError, Unavailable) as error:
        return str(error)
    except TimeoutError:
        return "Ray doesn't answer"


def _look(begin: int, on: Sequence[str], waits: Sequence[str]) -> str:
    """How this page asks for what it shows."""
    ids = [*(f"on={one}" for one in on), *(f"waits={one}" for one in waits)]
    return "/queue?" + "&".join([f"from={begin}", "seen=true", *ids])
