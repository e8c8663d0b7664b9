"""Datasets by name."""

from __future__ import annotations

import json
import threading
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from starlette.concurrency import run_in_threadpool

from service.access.callers import Away, User, user
from service.bodies.base import Page
from service.bodies.datasets import Dataset, DatasetCheck, DatasetRequest
from service.context import Ctx
from service.datasets import check as checking
from service.datasets import replies, store
from service.datasets.places import absolute
from service.errors import Invalid, Problem, Unavailable
from service.paging import Cursor, Limit, Onward
from trainer.data.manifest import read_manifest
from trainer.errors import BadDataError, DataAwayError
from trainer.spec import FieldError

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], dependencies=[Depends(user)])
Name = Annotated[str, Path(max_length=64, pattern=r"^[a-z0-9._-]+$")]


@router.post("", status_code=201)
async def register(body: DatasetRequest, ctx: Ctx, caller: User, errand: Away) -> Dataset:
    """Register a packed dataset: its manifest is read now. Jobs name it as `data.url: dataset:NAME`.

    A relative path is meant below a data root, as in a job."""
    url = await run_in_threadpool(absolute, body.url, ctx.settings.data_roots)
    try:
        access, patience = ctx.settings.access, ctx.settings.patience
        manifest = await ctx.elsewhere.data.run(read_manifest, url, access, patience, errand=errand)
    except (BadDataError, DataAwayError) as error:
        raise refusal(error, url, "request") from error
    facts = replies.facts(manifest).model_dump(mode="json")
    return replies.dataset(await run_in_threadpool(store.create, ctx.db, body.name, url, facts, caller.owner))


@router.get("")
def list_datasets(ctx: Ctx, onward: Onward, limit: Limit = 50, cursor: Cursor = None) -> Page[Dataset]:
    """Registered datasets, newest first."""
    with ctx.db.read() as session:
        rows, following = store.page(session, limit, cursor)
    return onward(Page(items=[replies.dataset(row) for row in rows], next_cursor=following))


@router.get("/{name}")
def show(name: Name, ctx: Ctx) -> Dataset:
    """One dataset."""
    return replies.dataset(store.get(ctx.db, name))


@router.post("/{name}/check")
async def check(name: Name, ctx: Ctx, errand: Away) -> DatasetCheck:
    """Read every shard and compare its size and SHA-256 with the manifest. Ten minutes at most; `agon data check` has no limit."""
    row = await run_in_threadpool(store.get, ctx.db, name)
    stop, digest = threading.Event(), row.manifest["digest"]
    try:
        access, patience = ctx.settings.access, ctx.settings.patience
        report = await ctx.elsewhere.checks.run(
            checking.check, row.url, digest, access, patience, stop, errand=errand, stop=stop
        )
    except (BadDataError, DataAwayError) as error:
        raise refusal(error, row.url, "dataset") from error
    await run_in_threadpool(store.save_check, ctx.db, name, report.model_dump(mode="json"))
    return report


@router.delete("/{name}", status_code=204)
def remove(name: Name, ctx: Ctx) -> Response:
    """Forget a dataset; its files stay."""
    store.remove(ctx.db, name)
    return Response(status_code=204)


def refusal(error: BadDataError | DataAwayError, url: str, what: str) -> Problem:
    """Data that are wrong are the request's fault (422); a server that is away is not (503)."""
    message = str(error).removeprefix(f"data.url {url!r}: ")
    wrong = [FieldError(path="url", message=message, value=json.dumps(url))]
    return Unavailable(f"url: {message}", wrong) if isinstance(error, DataAwayError) else Invalid(wrong, what)
