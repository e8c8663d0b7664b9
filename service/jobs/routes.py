"""Jobs: create, list, show, cancel, retry, follow, logs, samples, report; and what a running job calls."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.responses import FileResponse, PlainTextResponse
from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from service.auth.access import Away, OwnJob, User
from service.context import Context, Ctx
from service.db.tables import Job
from service.errors import NotFound
from service.jobs import answers, draft, ingest, output, store
from service.jobs.answers import Attempt, Filter, Key, LastEventId, Offset, Tail
from service.jobs.kinds import JOB
from service.jobs.lifecycle import JobState, State
from service.jobs.schemas import JobReply, JobRequest
from service.paging import Cursor, Limit, Page
from service.plans import preflight
from service.searches import onward
from trainer.spec import JobSpec
from trainer.wire import EventBatch, EventReply

router = APIRouter(tags=["jobs"])
JobId = Annotated[str, Path(max_length=40, pattern=r"^[a-z0-9-]+$", examples=["j-0123456789ab"])]
WHEN = "one is written at its end, and after each evaluation; evaluation.every_steps asks for these"


@router.post("/v1/jobs", status_code=201)
async def create(
    body: JobRequest, ctx: Ctx, caller: User, errand: Away, response: Response, idempotency_key: Key = None
) -> JobReply:
    """Submit a job. With an `Idempotency-Key`, the same body again answers with the same job and starts no second one.

    With `trial` it trains that trial of a search for longer, from its newest checkpoint unless `from` is `scratch`.
    A job that can't fit the memory of any of the cluster's machines is refused with the micro-batch that would (see `POST /v1/plans`).
    """
    digest = draft.digest(body)
    known = await run_in_threadpool(store.find_repeated, ctx.db, caller.id, idempotency_key, digest)
    if known is not None:
        job, new = known, False
    else:
        spec = await draft.resolve(body, ctx, errand)
        await preflight.check(spec, ctx, errand)
        asked = store.Submission(JOB.new_id(), spec, caller.id, digest, idempotency_key, trial=body.trial)
        job, new = await run_in_threadpool(_create, ctx, body, asked)
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
    state: JobState | None = None,
    name: Filter = None,
    family: Filter = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[JobReply]:
    """Jobs, newest first."""
    with ctx.db.read() as session:
        asked = None if state is None else State(state)
        rows, following = store.page(session, state=asked, name=name, family=family, limit=limit, cursor=cursor)
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


@router.post("/v1/jobs/{job_id}/retry", status_code=202)
def retry(job_id: JobId, ctx: Ctx, caller: User) -> JobReply:
    """Let a job that has failed or was cancelled go on: the same job, its next attempt, from its newest checkpoint.

    Asked twice, it is tried again once. 409 for one that has succeeded, or has not ended.
    """
    with ctx.db.begin() as session:
        job = store.retry(session, job_id)
    ctx.ring(job.number)
    return JobReply.of(job)


@router.get(
    "/v1/jobs/{job_id}/events",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def events(job_id: JobId, ctx: Ctx, caller: User, last_event_id: LastEventId = 0) -> EventSourceResponse:
    """Follow a job: its state, every event behind `Last-Event-ID`, then what comes; ends once the job has ended."""
    return await answers.events(ctx, caller, JOB, job_id, last_event_id)


@router.post("/v1/jobs/{job_id}/events", response_model_exclude_defaults=True)
def report(job_id: JobId, body: EventBatch, ctx: Ctx, caller: OwnJob) -> EventReply:
    """For the job or search itself: store events. At-least-once; `acked` says up to which all are stored."""
    with ctx.db.begin() as session:
        answer, urgent, number = ingest.accept(session, caller, job_id, body.events)
    if urgent:
        ctx.ring(number)
    else:
        ctx.hub.poke(number)
    return answer


@router.get("/v1/jobs/{job_id}/desired", response_model_exclude_defaults=True)
def desired(job_id: JobId, ctx: Ctx, caller: OwnJob) -> EventReply:
    """For the job or search itself: what is wanted of it."""
    with ctx.db.read() as session:
        return ingest.reply(session, store.get(session, job_id, None), caller.attempt)


@router.get("/v1/jobs/{job_id}/logs", response_class=PlainTextResponse)
async def logs(
    job_id: JobId,
    ctx: Ctx,
    caller: User,
    errand: Away,
    attempt: Attempt = None,
    tail: Tail = None,
    offset: Offset = None,
) -> Response:
    """The driver's log of an attempt: all of it, its last lines, or what lies behind an offset."""
    return await answers.log(ctx, errand, JOB, job_id, attempt, tail, offset)


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
    return answers.report(ctx, JOB, job_id, WHEN)


@router.post("/v1/validate")
async def validate(body: JobRequest, ctx: Ctx, caller: User, errand: Away) -> JobSpec:
    """The resolved spec as a submission would store it; nothing starts."""
    return await draft.resolve(body, ctx, errand)


def _create(ctx: Context, body: JobRequest, asked: store.Submission) -> tuple[Job, bool]:
    """Store the job; one that goes on from a checkpoint has it in its folder before anyone can see the job."""
    if body.trial is None or body.from_ == "scratch":
        return store.create(ctx.db, asked)
    onward.begin(ctx.settings, asked.id, body.trial)
    new = False
    try:
        job, new = store.create(ctx.db, asked)
    finally:
        if not new:
            onward.discard(ctx.settings, asked.id)
    return job, new
