"""Jobs: create, list, show, cancel, follow, logs, samples, report; and what a running job calls."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import FileResponse, PlainTextResponse
from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from service.auth.access import OwnJob, User
from service.context import Ctx
from service.errors import NotFound
from service.jobs import draft, ingest, output, store
from service.jobs.lifecycle import State
from service.jobs.schemas import JobReply, JobRequest
from service.jobs.stream import follow
from service.paging import Cursor, Limit, Page
from service.plans import preflight
from trainer.spec import JobSpec
from trainer.wire import EventBatch, EventReply

HEARTBEAT_SECONDS = 15
REPORT_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
"""A report is drawn by a job from what people named their classes: a browser runs nothing of it and loads nothing for it."""
router = APIRouter(tags=["jobs"])
JobId = Annotated[str, Path(max_length=40, pattern=r"^[a-z0-9-]+$", examples=["j-0123456789ab"])]
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$")]
Filter = Annotated[str | None, Query(max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]


@router.post("/v1/jobs", status_code=201)
def create(body: JobRequest, ctx: Ctx, caller: User, response: Response, idempotency_key: Key = None) -> JobReply:
    """Submit a job. With an `Idempotency-Key`, the same body again answers with the same job and starts no second one.

    A job that can't fit the memory of any of the cluster's machines is refused with the micro-batch that would (see `POST /v1/plans`).
    """
    digest = draft.digest(body)
    job = store.find_repeated(ctx.db, caller.id, idempotency_key, digest)
    new = False
    if job is None:
        spec = draft.resolve(body, ctx.db, ctx.settings)
        preflight.check(spec, ctx)
        job, new = store.create(ctx.db, store.Submission(spec, caller.id, digest, idempotency_key))
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    if new:
        ctx.ring(job.number)
    else:
        response.headers["Idempotency-Replayed"] = "true"
    return JobReply.of(job)


@router.get("/v1/jobs")
def list_jobs(
    ctx: Ctx,
    caller: User,
    state: State | None = None,
    name: Filter = None,
    family: Filter = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[JobReply]:
    """Jobs, newest first."""
    with ctx.db.read() as session:
        rows, following = store.page(session, state=state, name=name, family=family, limit=limit, cursor=cursor)
    return Page(items=[JobReply.of(row) for row in rows], next_cursor=following)


@router.get("/v1/jobs/{job_id}")
def show(job_id: JobId, ctx: Ctx, caller: User) -> JobReply:
    """One job."""
    with ctx.db.read() as session:
        return JobReply.of(store.get(session, job_id))


@router.post("/v1/jobs/{job_id}/cancel", status_code=202)
def cancel(job_id: JobId, ctx: Ctx, caller: User) -> JobReply:
    """Ask a job to save a checkpoint and end. One that has not started ends at once."""
    with ctx.db.begin() as session:
        job = store.cancel(session, job_id)
    ctx.ring(job.number)
    return JobReply.of(job)


@router.get(
    "/v1/jobs/{job_id}/events",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def events(
    job_id: JobId,
    ctx: Ctx,
    caller: User,
    last_event_id: Annotated[int, Header(ge=0, lt=2**63, description="The last `id` that was seen.")] = 0,
) -> EventSourceResponse:
    """Follow a job: its state, every event behind `Last-Event-ID`, then what comes; ends once the job has ended."""
    number = await run_in_threadpool(_number, ctx, job_id)
    return EventSourceResponse(
        follow(ctx.hub, ctx.db, number, last_event_id), ping=HEARTBEAT_SECONDS, headers={"Cache-Control": "no-store"}
    )


@router.post("/v1/jobs/{job_id}/events")
def report(job_id: JobId, body: EventBatch, ctx: Ctx, caller: OwnJob) -> EventReply:
    """For the job itself: store events. At-least-once; `acked` says up to which all are stored."""
    with ctx.db.begin() as session:
        answer, urgent, number = ingest.accept(session, caller, job_id, body.events)
    if urgent:
        ctx.ring(number)
    else:
        ctx.hub.poke(number)
    return answer


@router.get("/v1/jobs/{job_id}/desired")
def desired(job_id: JobId, ctx: Ctx, caller: OwnJob) -> EventReply:
    """For the job itself: what is wanted of it."""
    with ctx.db.read() as session:
        return ingest.reply(store.get(session, job_id), caller.attempt)


@router.get("/v1/jobs/{job_id}/logs", response_class=PlainTextResponse)
def logs(
    job_id: JobId,
    ctx: Ctx,
    caller: User,
    tail: Annotated[int | None, Query(ge=1, le=100_000, description="Only that many last lines.")] = None,
    offset: Annotated[int, Query(ge=0, lt=2**63, description="Leave out that many characters at the beginning.")] = 0,
) -> PlainTextResponse:
    """The driver's log of the newest attempt."""
    with ctx.db.read() as session:
        job = store.get(session, job_id)
    return PlainTextResponse(output.log(ctx.settings, ctx.ray, job, tail, offset))


@router.get("/v1/jobs/{job_id}/samples", response_class=FileResponse, responses={200: {"content": {"image/png": {}}}})
def samples(job_id: JobId, ctx: Ctx, caller: User) -> FileResponse:
    """The newest grid of samples."""
    with ctx.db.read() as session:
        job = store.get(session, job_id)
    path = output.newest_samples(ctx.settings, job)
    if path is None:
        raise NotFound(f"job {job_id} has drawn no samples yet")
    return FileResponse(path, media_type="image/png", headers={"Cache-Control": "no-cache"})


@router.get("/v1/jobs/{job_id}/report", response_class=FileResponse, responses={200: {"content": {"text/html": {}}}})
def report_page(job_id: JobId, ctx: Ctx, caller: User) -> FileResponse:
    """The newest report: one HTML page that needs nothing else. Written after evaluations and at the job's end."""
    with ctx.db.read() as session:
        job = store.get(session, job_id)
    path = output.report(ctx.settings, job)
    if path is None:
        raise NotFound(_no_report(job_id, State(job.state)))
    return FileResponse(path, media_type="text/html; charset=utf-8", headers=REPORT_HEADERS)


def _no_report(job_id: str, state: State) -> str:
    if state.ended:
        return f"job {job_id} is {state} and left no report; its log says why: GET /v1/jobs/{job_id}/logs"
    return (
        f"job {job_id} is {state} and has no report yet: one is written at its end, and after each evaluation; "
        "evaluation.every_steps asks for these"
    )


@router.post("/v1/validate")
def validate(body: JobRequest, ctx: Ctx, caller: User) -> JobSpec:
    """The resolved spec as a submission would store it; nothing starts."""
    return draft.resolve(body, ctx.db, ctx.settings)


def _number(ctx: Ctx, job_id: str) -> int:
    with ctx.db.read() as session:
        return store.get(session, job_id).number
