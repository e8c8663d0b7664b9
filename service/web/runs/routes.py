"""All runs, newest first: what they do, what they draw, and how well. `/` leads here."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from service.access.callers import Away, User
from service.bodies.states import State
from service.context import Context, Ctx
from service.etags import ASK, IfNoneMatch, matches
from service.jobs.routes import JobId
from service.paging import Cursor
from service.runs import files, samples, store
from service.web import asked as asking
from service.web import frame
from service.web.asked import Asked
from service.web.frame import View
from service.web.runs import listing, thumbnails
from service.web.runs.listing import PAGE, Listing

router = APIRouter(include_in_schema=False)
Runs = Annotated[
    list[Annotated[str, Query(max_length=40, pattern=r"^[a-z0-9-]+$")]],
    Query(default_factory=list, alias="run", max_length=PAGE),
]
USUAL = ("running", "queued", "paused", "succeeded", "failed", "cancelled")
"""States that are looked for."""
FIELDS = (
    ("name", "Name", "all of it"),
    ("family", "Family", "dcgan"),
    ("owner", "Owner", "ada"),
    ("label", "Label", "team=vision"),
    ("score", "Score", "fid<20"),
)
"""What is filtered by: name, caption, an example."""


@router.get("/")
async def first() -> Response:
    """The first page."""
    return RedirectResponse("/runs", 303, {"Cache-Control": "no-store"})


@router.get("/runs")
def show(
    request: Request, caller: User, ctx: Ctx, runs: Runs, cursor: Cursor = None, newest: Cursor = None
) -> Response:
    """The table. `run` and `newest`: as a page asks that is looked at already, of the rows that it has."""
    asked = asking.read("/runs", request.query_params)
    with ctx.db.read() as session:
        if asked.wrong:
            found = Listing()
        elif runs or newest:
            found = listing.again(session, asked.wanted, runs, newest)
        else:
            found = listing.page(session, asked.wanted, cursor)
    view = View(
        title="Runs", section="/runs", events=None if asked.wrong else _events(asked, found, cursor), wide=True,
        look=_look(asked, found, cursor), scripts=("runs/page.js",),
    )  # fmt: skip
    return frame.page(
        request, caller, "runs/page.html", view, status=422 if asked.wrong else 200, asked=asked, listing=found, fields=FIELDS,
        states=[*USUAL, *sorted({*asked.values("state")} & {*State} - {*USUAL})],
        scores=listing.scores, first=cursor is None, most=listing.NEW,
    )  # fmt: skip


@router.get("/runs/{job_id}/thumbnail")
async def thumbnail(job_id: JobId, ctx: Ctx, caller: User, errand: Away, if_none_match: IfNoneMatch = None) -> Response:
    """The newest samples, small."""
    opened = await run_in_threadpool(_newest, ctx, job_id)
    tag = f'"{opened.grid.tag}-small"' if opened else '"none"'
    headers = {"ETag": tag, "Cache-Control": ASK}
    if matches(if_none_match, tag):
        if opened:
            opened.file.close()
        return Response(status_code=304, headers=headers)
    picture = await ctx.elsewhere.pictures.run(thumbnails.drawn, opened, errand=errand) if opened else None
    kind = thumbnails.EMPTY if picture is None else thumbnails.DRAWN
    return Response(picture or thumbnails.NONE, headers=headers, media_type=kind)


def _newest(ctx: Context, job_id: str) -> samples.Opened | None:
    """Raises NotFound."""
    with ctx.db.read() as session:
        job = store.get(session, job_id)
    return samples.newest(ctx.settings.jobs_root, files.job_dir(ctx.settings, job.id))


def _events(asked: Asked, found: Listing, cursor: str | None) -> str:
    """The first page hears of new runs, too; others of those that they show."""
    if cursor is not None:
        return "&".join(f"run={run.id}" for run in found.runs) or "run=none"
    kept = [name for name, _ in asked.given if name not in ("owner", "label")]
    query = asked.query(**dict.fromkeys(kept, ""))
    return "kind=job" + (f"&{query}" if query else "")


def _look(asked: Asked, found: Listing, cursor: str | None) -> str:
    """How this page asks for what it shows."""
    rows = [f"run={run.id}" for run in found.runs] + ([f"newest={found.newest}"] if cursor is None else [])
    query = asked.query()
    return "/runs?" + "&".join([*([query] if query else []), *rows])
