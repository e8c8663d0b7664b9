"""Datasets: what is registered, and one of them: its facts, its classes with some images, what its check found, who trained on it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from service.access.callers import Away, User
from service.context import Context, Ctx
from service.datasets import replies, store
from service.datasets.routes import Name, refusal
from service.db.tables import Job
from service.etags import ASK, IfNoneMatch, matches
from service.paging import Cursor
from service.web import frame
from service.web.datasets import pictures
from service.web.datasets.pictures import Pictures
from service.web.frame import View
from trainer.errors import BadDataError, DataAwayError

router = APIRouter(include_in_schema=False)
SECTION = "/datasets"
LISTED = 50
LOOKED = 500
"""Runs among which those are looked for that were trained on it."""


@router.get("/datasets")
async def show_datasets(request: Request, ctx: Ctx, caller: User, cursor: Cursor = None) -> Response:
    """Registered datasets, newest first."""
    facts = await run_in_threadpool(_list, ctx, cursor)
    return frame.page(request, caller, "datasets/list.html", View("Datasets", SECTION), first=cursor is None, **facts)


@router.get("/datasets/{name}")
async def show_dataset(request: Request, name: Name, ctx: Ctx, caller: User) -> Response:
    """One of them."""
    facts = await run_in_threadpool(_one, ctx, name)
    return frame.page(
        request,
        caller,
        "datasets/page.html",
        View(name, SECTION, scripts=("datasets/page.js",)),
        looked=LOOKED,
        **facts,
    )


@router.get("/datasets/{name}/images")
async def images(name: Name, ctx: Ctx, caller: User, errand: Away, if_none_match: IfNoneMatch = None) -> Response:
    """Some images of each class, in one picture."""
    row = await run_in_threadpool(store.get, ctx.db, name)
    tag = f'"{row.manifest["digest"][:32]}-images"'
    headers = {"ETag": tag, "Cache-Control": ASK}
    if matches(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    try:
        draw, settings = ctx.of(Pictures).draw, ctx.settings
        picture = await ctx.elsewhere.pictures.run(
            draw, row.url, row.manifest, settings.access, settings.patience, errand=errand
        )
    except (BadDataError, DataAwayError) as error:
        raise refusal(error, row.url, "dataset") from error
    return Response(picture, headers=headers, media_type="image/webp")


def _list(ctx: Context, cursor: str | None) -> dict[str, Any]:
    with ctx.db.read() as session:
        rows, following = store.page(session, LISTED, cursor)
        return {"datasets": [replies.dataset(row) for row in rows], "following": following}


def _one(ctx: Context, name: str) -> dict[str, Any]:
    """Raises NotFound."""
    found = replies.dataset(store.get(ctx.db, name))
    manifest = found.manifest
    classes = list(zip(manifest.classes, manifest.class_counts, strict=True))
    with ctx.db.read() as session:
        runs = _trained_on(session, found.url, manifest.digest)
    return {
        "dataset": found, "classes": classes[:pictures.ROWS], "others": len(classes) - pictures.ROWS,
        "most": max(manifest.class_counts, default=0), "runs": runs, "sheet": pictures.sheet(manifest.model_dump()),
    }  # fmt: skip


def _trained_on(session: Session, url: str, digest: str) -> list[Any]:
    """The newest first."""
    columns = (Job.id, Job.name, Job.owner, Job.state, Job.created_at, Job.spec)
    rows = session.execute(select(*columns).where(Job.kind == "job").order_by(Job.number.desc()).limit(LOOKED))
    return [row for row in rows if _is_of(row.spec.get("data", {}), url, digest)]


def _is_of(data: dict[str, Any], url: str, digest: str) -> bool:
    return data.get("digest") == digest or (data.get("digest") is None and data.get("url") == url)
