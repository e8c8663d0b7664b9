"""The page of a run: its pictures with its curves, and all else that is known of it, a part a tab."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from service.access.callers import Away, User
from service.context import Context, Ctx
from service.jobs.routes import JobId
from service.runs.logowner import RANK
from service.runs.logsearch import CURSOR
from service.web import frame
from service.web.frame import View
from service.web.run import head, logs, pictures, specs, tabs
from service.web.run.head import Head

router = APIRouter(include_in_schema=False)


class Tab(StrEnum):
    """A part of the page."""

    SAMPLES = "samples"
    SCORES = "scores"
    CHECKPOINTS = "checkpoints"
    LOGS = "logs"
    SPEC = "spec"
    LINEAGE = "lineage"
    USAGE = "usage"


TITLES = {
    Tab.SAMPLES: "Samples and curves", Tab.SCORES: "Scores", Tab.CHECKPOINTS: "Checkpoints", Tab.LOGS: "Logs", Tab.SPEC: "Spec",
    Tab.LINEAGE: "Lineage", Tab.USAGE: "Usage and history",
}  # fmt: skip
SCRIPTS = {Tab.SAMPLES: ("run/page.js",), Tab.LOGS: ("run/logs.js",)}
READ: dict[Tab, Callable[[Context, Head, str | None], dict[str, Any]]] = {
    Tab.SCORES: tabs.scores,
    Tab.CHECKPOINTS: tabs.saved,
    Tab.SPEC: specs.read,
    Tab.LINEAGE: tabs.family,
    Tab.USAGE: tabs.used,
}


class Asked(BaseModel):
    """What of it."""

    tab: Tab = Tab.SAMPLES
    step: Annotated[int, Field(ge=0, lt=10**18)] | None = None
    """The grid to look at, or the one next to it; None: the newest."""
    by: Literal["step", "images"] = "step"
    """What `step` counts."""
    attempt: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    rank: Annotated[str, Field(pattern=RANK)] | None = None
    """Of the log."""
    text: Annotated[str, Field(max_length=200, pattern=r"^[^\r\n]*$")] = ""
    """What is looked for in logs."""
    going: Annotated[str, Field(pattern=CURSOR)] | None = None
    """Where that goes on."""
    cursor: Annotated[str, Field(max_length=64)] | None = None
    """Of a list."""


@router.get("/runs/{job_id}")
async def show(
    request: Request, job_id: JobId, ctx: Ctx, caller: User, errand: Away, asked: Annotated[Asked, Query()]
) -> Response:
    """One run."""
    if await run_in_threadpool(_is_search, ctx, job_id):
        return RedirectResponse(f"/searches/{job_id}", 303)
    found, facts = await run_in_threadpool(_read, ctx, job_id, asked)
    if asked.tab is Tab.LOGS:
        facts = await logs.read(ctx, errand, found, asked.attempt, asked.rank, asked.text.strip(), asked.going)
    view = View(
        title=found.run.name,
        section="/runs",
        events=f"run={found.run.id}",
        scripts=SCRIPTS.get(asked.tab, ()),
        charts=asked.tab is Tab.SAMPLES,
        wide=asked.tab is Tab.SAMPLES,
    )
    return frame.page(
        request, caller, "run/page.html", view, head=found, run=found.run, tabs=TITLES, asked=asked, **facts
    )


def _is_search(ctx: Context, job_id: str) -> bool:
    with ctx.db.read() as session:
        return head.kind_of(session, job_id) == "search"


def _read(ctx: Context, job_id: str, asked: Asked) -> tuple[Head, dict[str, Any]]:
    found = head.read(ctx, job_id)
    if asked.tab is Tab.SAMPLES:
        return found, pictures.read(ctx, found, asked.step, images=asked.by == "images")
    return found, READ[asked.tab](ctx, found, asked.cursor) if asked.tab in READ else {}
