"""Jobs: create, list, show, cancel, pause, resume, retry, follow, report; and what a running job calls."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path as Folder
from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.responses import FileResponse
from sqlalchemy.orm import Session
from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from service import etags
from service.access.callers import Away, OwnJob, User
from service.access.tokens import Principal
from service.bodies.base import Page
from service.bodies.edits import Edit
from service.bodies.forks import Lineage
from service.bodies.jobs import Job, JobRequest
from service.bodies.states import State
from service.bodies.waiting import Waiting
from service.context import Context, Ctx
from service.db import tables
from service.elsewhere import Errand
from service.etags import UNCHANGED, IfMatch, IfNoneMatch
from service.jobs import onward, replies
from service.paging import Cursor, Limit, Onward
from service.plans import preflight, shapes
from service.repeats.key import REPLAYED, Key
from service.runs import answers, ingest, lineage, lists, removal, store, submissions, waiting, wishes
from service.runs.answers import LastEventId
from service.runs.kinds import JOB
from service.runs.lists import Filter, Labels, Owner, Scores, Wanted
from service.runs.removal import WithMlflow
from service.runs.submissions import Submission
from service.specs import draft, edits
from service.specs.onward import origin_of
from trainer.spec import JobSpec
from trainer.wire import EventBatch, EventReply

router = APIRouter(tags=["jobs"])
JobId = Annotated[str, Path(max_length=40, pattern=r"^[a-z0-9-]+$", examples=["j-0123456789ab"])]
EDITOR = edits.of_jobs(preflight.check)
WHEN = "one is written at its end, and after each evaluation; evaluation.every_steps asks for these"


@router.post("/v1/jobs", status_code=201)
async def create(
    body: JobRequest, ctx: Ctx, caller: User, errand: Away, response: Response, idempotency_key: Key = None
) -> Job:
    """Submit a job. With an `Idempotency-Key`, the same body again answers with the same job and starts no second one.

    With `from` it is a fork: it begins with a checkpoint of another job or of a trial, which it has then, whatever becomes of that
    one. With `trial` it trains that trial of a search for longer, from its newest checkpoint unless `from` is `scratch`.
    A job that can't fit the memory of any of the cluster's machines is refused with the micro-batch that would (see `POST /v1/plans`).
    """
    digest = draft.digest(body)
    known = None
    if idempotency_key is not None:
        known = await run_in_threadpool(submissions.find_repeated, ctx.db, caller.id, idempotency_key, digest)
    if known is not None:
        job, new = await run_in_threadpool(_shown, ctx, known), False
    else:
        job, new = await _submitted(body, ctx, caller, errand, digest, idempotency_key)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    if not new:
        response.headers[REPLAYED] = "true"
    return job


@router.get("/v1/jobs")
def list_jobs(
    ctx: Ctx,
    caller: User,
    onward: Onward,
    labels: Labels,
    scores: Scores,
    state: State | None = None,
    name: Filter = None,
    family: Filter = None,
    owner: Owner = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[Job]:
    """Jobs, newest first."""
    wanted = Wanted.read(labels, scores, state=state, name=name, family=family, owner=owner)
    with ctx.db.read() as session:
        rows, following = lists.page(session, JOB, wanted, limit=limit, cursor=cursor)
        told = waiting.briefly(session, rows, datetime.now(UTC))
    return onward(Page(items=[replies.job(row, told.get(row.number)) for row in rows], next_cursor=following))


@router.get("/v1/jobs/{job_id}", response_model=Job, responses=UNCHANGED)
def show(job_id: JobId, ctx: Ctx, caller: User, if_none_match: IfNoneMatch = None) -> Response:
    """One job. Its `etag` is for an edit's `If-Match`, the header `ETag` for `If-None-Match` too, which makes a poll cheap."""
    with ctx.db.read() as session:
        job = store.get(session, job_id)
        return etags.answer(replies.job(job, waiting.fully(session, job, datetime.now(UTC))), if_none_match)


@router.get("/v1/jobs/{job_id}/lineage")
def descent(job_id: JobId, ctx: Ctx, caller: User, onward: Onward, limit: Limit = 50, cursor: Cursor = None) -> Lineage:
    """The run that a job goes on with, that one's, and so on; and the jobs that went on with it."""
    with ctx.db.read() as session:
        return onward(lineage.of(session, job_id, JOB, limit=limit, cursor=cursor))


@router.patch("/v1/jobs/{job_id}")
async def edit(job_id: JobId, body: Edit, ctx: Ctx, caller: User, errand: Away, if_match: IfMatch = None) -> Job:
    """Change some fields of a job's spec: `name`, `labels` and `notes` at any time; `queue` and `limits` until it has succeeded; `resources`, `retry`
    and `publish` while it waits, is paused, or has ended and could be retried.

    What is trained depends on the other fields: 422, fork it instead. 409 in another state, saying what to do first. The whole edit
    is made, or nothing of it; made twice, it changes nothing more. 412 if the job is not what it was with the `etag` given as `If-Match`.
    """
    return await run_in_threadpool(_shown, ctx, await EDITOR.edit(ctx, errand, job_id, body.set, if_match))


@router.delete("/v1/jobs/{job_id}", status_code=204, response_class=Response, responses=removal.ANSWERS)
async def delete(job_id: JobId, ctx: Ctx, caller: User, errand: Away, mlflow: WithMlflow = False) -> Response:
    """Delete a job that has ended: its row, events, tokens and folder. Jobs that were forked from it keep what they began with.

    409 for one that has not ended, or has pinned checkpoints. 403 unless it is the caller's, or the caller is an administrator.
    202 says what of it could not be removed yet; asked for again it goes on.
    """
    return await removal.delete(ctx, errand, JOB, job_id, mlflow)


@router.post("/v1/jobs/{job_id}/cancel", status_code=202)
def cancel(job_id: JobId, ctx: Ctx, caller: User) -> Job:
    """Ask a job to save a checkpoint and end. One that has not started ends at once."""
    return _asked(ctx, wishes.cancel, job_id)


@router.post("/v1/jobs/{job_id}/pause", status_code=202)
def pause(job_id: JobId, ctx: Ctx, caller: User) -> Job:
    """Ask a job to save a checkpoint and leave the cluster, to go on with the same weights when it is resumed.

    One that waits leaves the queue at once. Asked twice, it is paused once. 409 once it has ended or is being cancelled.
    """
    return _asked(ctx, wishes.pause, job_id)


@router.post("/v1/jobs/{job_id}/resume", status_code=202)
def resume(job_id: JobId, ctx: Ctx, caller: User) -> Job:
    """Put a paused job back into the queue, at its first place: its next attempt goes on from its newest checkpoint.

    Of one that waits or runs nothing changes. 409 while it still saves its checkpoint, and once it has ended.
    """
    return _asked(ctx, wishes.resume, job_id)


@router.post("/v1/jobs/{job_id}/retry", status_code=202)
def retry(job_id: JobId, ctx: Ctx, caller: User) -> Job:
    """Let a job that has failed or was cancelled go on: the same job, its next attempt, from its newest checkpoint.

    Asked twice, it is tried again once. 409 for one that has succeeded, or has not ended.
    """
    return _asked(ctx, wishes.retry, job_id)


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
        answer, urgent, number = ingest.accept(
            session, caller, job_id, body.events, ctx.settings.late(datetime.now(UTC))
        )
    if urgent:
        ctx.ring(number)
    else:
        ctx.tell(number)
    return answer


@router.get("/v1/jobs/{job_id}/desired", response_model_exclude_defaults=True)
def desired(job_id: JobId, ctx: Ctx, caller: OwnJob) -> EventReply:
    """For the job or search itself: what is wanted of it."""
    with ctx.db.read() as session:
        job = store.get(session, job_id, None)
        return ingest.reply(session, job, caller.attempt, ctx.settings.late(datetime.now(UTC)))


@router.get("/v1/jobs/{job_id}/report", response_class=FileResponse, responses={200: {"content": {"text/html": {}}}})
def report_page(job_id: JobId, ctx: Ctx, caller: User) -> FileResponse:
    """The newest report: one HTML page that needs nothing else. Written after evaluations and at the job's end."""
    return answers.report(ctx, JOB, job_id, WHEN)


@router.post("/v1/validate")
async def validate(body: JobRequest, ctx: Ctx, caller: User, errand: Away) -> JobSpec:
    """The resolved spec as a submission would store it; nothing starts."""
    origin = await origin_of(body, ctx, errand)
    spec = await draft.resolved(body, origin, ctx, errand)
    await shapes.check(origin, spec, ctx)
    return spec


@router.post("/v1/forecast")
async def foretell(body: JobRequest, ctx: Ctx, caller: User, errand: Away) -> Waiting:
    """What the job would wait for, and when it would start, if it were submitted now; nothing starts.

    Its place in the line is the one that it would have. Whoever submits meanwhile, or has a higher priority, may come before it.
    """
    origin = await origin_of(body, ctx, errand)
    spec = await draft.resolved(body, origin, ctx, errand)
    asked = Submission(JOB.new_id(), spec, caller, "", most_delay=ctx.settings.fair_share_hours)
    return await run_in_threadpool(_foretold, ctx, asked)


def _foretold(ctx: Context, asked: Submission) -> Waiting:
    with ctx.db.read() as session:
        told = waiting.fully(session, submissions.preview(session, asked), datetime.now(UTC))
    assert told is not None  # noqa: S101 — what was not submitted waits
    return told


def _asked(ctx: Context, wish: Callable[[Session, str], tables.Job], job_id: str) -> Job:
    """The job after the wish; the reconciler hears of it once it is committed."""
    with ctx.db.begin() as session:
        job = wish(session, job_id)
    ctx.ring(job.number)
    return _shown(ctx, job)


def _shown(ctx: Context, job: tables.Job) -> Job:
    return replies.job(job, waiting.shortly(ctx.db, job))


def _stored(ctx: Context, asked: Submission, folder: Folder | None = None) -> tuple[Job, bool]:
    """The job as it is answered, and whether it is new; all of it in one turn of a thread."""
    if folder is None:
        job, new = submissions.create(ctx.db, asked)
    else:
        job, new = onward.create(ctx.settings, ctx.db, asked, folder)
    if new:
        ctx.ring(job.number)
    return _shown(ctx, job), new


async def _submitted(
    body: JobRequest, ctx: Context, caller: Principal, errand: Errand, digest: str, key: str | None
) -> tuple[Job, bool]:
    """The job, checked and stored, and whether it is new; a checkpoint that it begins with is held from the first on."""
    job_id, most = JOB.new_id(), ctx.settings.fair_share_hours
    with onward.aside(ctx.settings, job_id) as folder:
        origin = await origin_of(body, ctx, errand, folder)
        spec = await draft.resolved(body, origin, ctx, errand)
        await shapes.check(origin, spec, ctx)
        await preflight.check(spec, ctx, errand)
        seconds = preflight.seconds(spec, ctx)
        if origin is None:
            asked = Submission(job_id, spec, caller, digest, key, plan_seconds=seconds, most_delay=most)
            return await run_in_threadpool(_stored, ctx, asked)
        asked = Submission(
            job_id, spec, caller, digest, key,
            trial=origin.trial, parent=origin.parent, fork=origin.fork, plan_seconds=seconds, most_delay=most,
        )  # fmt: skip
        return await run_in_threadpool(_stored, ctx, asked, folder if origin.fork is not None else None)
