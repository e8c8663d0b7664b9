"""What the endpoints of jobs and of searches answer alike: streams and pages."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header
from fastapi.responses import FileResponse
from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from service.access.live import Ticket
from service.access.tokens import Principal
from service.bodies.states import State
from service.context import Context
from service.db.tables import Job
from service.errors import NotFound
from service.runs import output, store
from service.runs.kinds import Kind
from service.runs.stream import Hub, follow

HEARTBEAT_SECONDS = 15
REPORT_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
"""A report is drawn by a job from what people named their classes: a browser runs nothing of it and loads nothing for it."""
LastEventId = Annotated[int, Header(ge=0, lt=2**63, description="The last `id` that was seen.")]


async def events(ctx: Context, caller: Principal, kind: Kind, run_id: str, last_event_id: int) -> EventSourceResponse:
    """The run's stream; it ends when the caller's token is revoked. Raises NotFound."""
    number = (await run_in_threadpool(_run, ctx, kind, run_id)).number
    return EventSourceResponse(
        follow(ctx.of(Hub), number, last_event_id, Ticket.of(caller)),
        ping=HEARTBEAT_SECONDS,
        headers={"Cache-Control": "no-store"},
    )


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
