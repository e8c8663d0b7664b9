"""What the endpoints of jobs and of searches answer alike: streams, logs and pages."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import Header, Query, Response
from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse
from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from service.auth.tokens import Principal
from service.context import Context
from service.db.tables import Job
from service.elsewhere import Errand
from service.errors import NotFound
from service.jobs import output, store
from service.jobs.kinds import Kind
from service.jobs.lifecycle import State
from service.jobs.stream import follow

HEARTBEAT_SECONDS = 15
REPORT_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
"""A report is drawn by a job from what people named their classes: a browser runs nothing of it and loads nothing for it."""
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$")]
Filter = Annotated[str | None, Query(max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
LastEventId = Annotated[int, Header(ge=0, lt=2**63, description="The last `id` that was seen.")]
Tail = Annotated[int | None, Query(ge=1, le=100_000, description="Only that many last lines.")]
Offset = Annotated[
    int | None,
    Query(
        ge=0,
        lt=2**63,
        description="Leave out that many bytes at the beginning, and give at most a million; the header `X-Log-Offset` says"
        " where to go on.",
    ),
]
Attempt = Annotated[int | None, Query(ge=1, lt=2**31, description="Of that attempt; default: the newest.")]


async def events(ctx: Context, caller: Principal, kind: Kind, run_id: str, last_event_id: int) -> EventSourceResponse:
    """The run's stream; it ends when the caller's token is revoked. Raises NotFound."""
    number = (await run_in_threadpool(_run, ctx, kind, run_id)).number
    return EventSourceResponse(
        follow(ctx.hub, ctx.db, number, last_event_id, caller.digest),
        ping=HEARTBEAT_SECONDS,
        headers={"Cache-Control": "no-store"},
    )


async def log(
    ctx: Context, errand: Errand, kind: Kind, run_id: str, attempt: int | None, tail: int | None, offset: int | None
) -> Response:
    """The driver's log of an attempt, the newest if none is named. Raises NotFound, Unavailable."""
    job = await run_in_threadpool(_run, ctx, kind, run_id)
    if attempt is not None and attempt > job.attempt:
        raise NotFound(f"{kind.name} {run_id} has had {job.attempt} attempt{'s' if job.attempt != 1 else ''} so far")
    wanted = job.attempt if attempt is None else attempt
    kept = await run_in_threadpool(output.is_kept, ctx.settings, job, wanted)
    headers = {"X-Log-Attempt": str(wanted), "Cache-Control": "no-cache"}
    if kept and wanted and tail is None and offset is None:  # of any length
        pieces, end = await run_in_threadpool(output.whole, ctx.settings, job, wanted)
        return StreamingResponse(pieces, headers={"X-Log-Offset": str(end), **headers}, media_type="text/plain")
    asked = partial(output.log, ctx.settings, ctx.ray, job, wanted, tail, offset)
    piece = await (run_in_threadpool(asked) if kept else ctx.elsewhere.ray.run(asked, errand=errand))
    return PlainTextResponse(piece.text, headers={"X-Log-Offset": str(piece.end), **headers})


def report(ctx: Context, kind: Kind, run_id: str, when: str) -> FileResponse:
    """The run's newest page. `when`: a sentence's end about when one is written. Raises NotFound."""
    job = _run(ctx, kind, run_id)
    path, state = output.report(ctx.settings, job), State(job.state)
    if path is not None:
        return FileResponse(path, media_type="text/html; charset=utf-8", headers=REPORT_HEADERS)
    name = f"{kind.name} {run_id} is {state}"
    if state.ended:
        raise NotFound(f"{name} and left no report; its log says why: GET {kind.path}/{run_id}/logs")
    raise NotFound(f"{name} and has no report yet: {when}")


def _run(ctx: Context, kind: Kind, run_id: str) -> Job:
    with ctx.db.read() as session:
        return store.get(session, run_id, kind)
