"""Searches and their trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import FileResponse, PlainTextResponse
from sqlalchemy.orm import Session
from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from service.auth.access import Away, User
from service.context import Context, Ctx
from service.db.tables import Job
from service.jobs import answers
from service.jobs import store as runs
from service.jobs.answers import Attempt, Filter, Key, LastEventId, Offset, Tail
from service.jobs.kinds import SEARCH
from service.jobs.lifecycle import State
from service.paging import Cursor, Limit, Page
from service.reconciler import files
from service.searches import draft, onward, store, trials
from service.searches.schemas import Extension, SearchReply, SearchRequest, TrialDetail, TrialReply, shown
from trainer.search import SearchSpec, TrialRecord, TrialState, parse_search
from trainer.search.space import trial_spec
from trainer.search.trial import trial_dir

router = APIRouter(tags=["searches"])
SearchId = Annotated[str, Path(max_length=40, pattern=r"^[a-z0-9-]+$", examples=["s-0123456789ab"])]
TrialId = Annotated[str, Path(max_length=16, pattern=r"^[a-z0-9-]+$", examples=["t-00003"])]
WHEN = "one is written while its trials train, once the first of them is scored, and at its end"


@router.post("/v1/searches", status_code=201)
async def create(
    body: SearchRequest, ctx: Ctx, caller: User, errand: Away, response: Response, idempotency_key: Key = None
) -> SearchReply:
    """Submit a search. With an `Idempotency-Key`, the same body again answers with the same search and starts no second one.

    One whose trials can't fit the cluster, or the memory of its machines, is refused with the reason.
    """
    digest = draft.digest(body)
    known = await run_in_threadpool(runs.find_repeated, ctx.db, caller.id, idempotency_key, digest)
    if known is not None:
        search, new = known, False
    else:
        spec = await draft.resolve(body, ctx, errand)
        await draft.check_fit(spec, ctx, errand)
        asked = runs.Submission(SEARCH.new_id(), spec, caller.id, digest, idempotency_key, SEARCH)
        search, new = await run_in_threadpool(runs.create, ctx.db, asked)
    response.headers["Location"] = f"/v1/searches/{search.id}"
    if new:
        ctx.ring(search.number)
    else:
        response.headers["Idempotency-Replayed"] = "true"
    return await run_in_threadpool(_shown, ctx, search)


@router.post("/v1/searches/validate")
async def validate(body: SearchRequest, ctx: Ctx, caller: User, errand: Away) -> SearchSpec:
    """The resolved search as a submission would store it; nothing starts."""
    return await draft.resolve(body, ctx, errand)


@router.get("/v1/searches")
def list_searches(
    ctx: Ctx, caller: User, state: State | None = None, name: Filter = None, limit: Limit = 50, cursor: Cursor = None
) -> Page[SearchReply]:
    """Searches, newest first."""
    with ctx.db.read() as session:
        rows, following = runs.page(session, SEARCH, state=state, name=name, limit=limit, cursor=cursor)
        standings = trials.standings(session, rows)
    return Page(items=[SearchReply.of(row, standings[row.number]) for row in rows], next_cursor=following)


@router.get("/v1/searches/{search_id}")
def show(search_id: SearchId, ctx: Ctx, caller: User) -> SearchReply:
    """One search, with its best trial."""
    with ctx.db.read() as session:
        return _reply(session, runs.get(session, search_id, SEARCH))


@router.post("/v1/searches/{search_id}/cancel", status_code=202)
def cancel(search_id: SearchId, ctx: Ctx, caller: User) -> SearchReply:
    """Ask a search to save its trials and end. Extending it lets it go on."""
    return _changed(ctx, lambda session: runs.cancel(session, search_id, SEARCH))


@router.post("/v1/searches/{search_id}/pause", status_code=202)
def pause(search_id: SearchId, ctx: Ctx, caller: User) -> SearchReply:
    """Ask a search to save its trials and free what it holds, to go on when it is resumed. 409 unless it waits or runs."""
    return _changed(ctx, lambda session: store.pause(session, search_id))


@router.post("/v1/searches/{search_id}/resume", status_code=202)
def resume(search_id: SearchId, ctx: Ctx, caller: User) -> SearchReply:
    """Put a search that is paused, or has failed, back into the queue: its trials go on, or its best is registered at last. 409 else."""
    return _changed(ctx, lambda session: store.resume(session, search_id))


@router.post("/v1/searches/{search_id}/extend", status_code=202)
def extend(search_id: SearchId, body: Extension, ctx: Ctx, caller: User) -> SearchReply:
    """Let a search that has ended, or is paused, go on to so many samples in all, or with another budget."""
    return _changed(ctx, lambda session: store.extend(session, search_id, body))


@router.get("/v1/searches/{search_id}/trials")
def list_trials(
    search_id: SearchId,
    ctx: Ctx,
    caller: User,
    state: TrialState | None = None,
    order: Annotated[
        Literal["score", "number"], Query(description="Best first (without a score: last), or as sampled.")
    ] = "score",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[TrialReply]:
    """Its trials, best first. By score, a trial may be on two pages or none if it is scored between two calls."""
    with ctx.db.read() as session:
        search = runs.get(session, search_id, SEARCH)
        by_score = order == "score"
        rows, following = trials.page(session, search, state=state, by_score=by_score, limit=limit, cursor=cursor)
    return Page(items=[TrialReply.of(row) for row in rows], next_cursor=following)


@router.get("/v1/searches/{search_id}/trials/{trial_id}")
def show_trial(search_id: SearchId, trial_id: TrialId, ctx: Ctx, caller: User) -> TrialDetail:
    """One trial, with the spec that it trains and its newest checkpoint."""
    with ctx.db.read() as session:
        search = runs.get(session, search_id, SEARCH)
        row = trials.get(session, search, trial_id)
    record = TrialRecord.model_validate(row.record)
    spec = trial_spec(parse_search(search.spec), record.current, record.number)
    folder = files.job_dir(ctx.settings, search.id)
    newest = onward.newest(trial_dir(folder, record.id))
    checkpoint = str(newest.relative_to(folder)) if newest is not None else None
    return TrialDetail(**shown(row), spec=spec.model_dump(mode="json"), checkpoint=checkpoint)


@router.post("/v1/searches/{search_id}/trials/{trial_id}/stop", status_code=202)
def stop_trial(search_id: SearchId, trial_id: TrialId, ctx: Ctx, caller: User) -> TrialReply:
    """Ask one trial to end; it keeps its score. 409 once it has ended."""
    with ctx.db.begin() as session:
        return TrialReply.of(store.stop_trial(session, search_id, trial_id))


@router.get(
    "/v1/searches/{search_id}/events",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def events(search_id: SearchId, ctx: Ctx, caller: User, last_event_id: LastEventId = 0) -> EventSourceResponse:
    """Follow a search: its state, every event behind `Last-Event-ID`, then what comes; ends once the search has ended."""
    return await answers.events(ctx, caller, SEARCH, search_id, last_event_id)


@router.get("/v1/searches/{search_id}/logs", response_class=PlainTextResponse)
async def logs(
    search_id: SearchId,
    ctx: Ctx,
    caller: User,
    errand: Away,
    attempt: Attempt = None,
    tail: Tail = None,
    offset: Offset = None,
) -> Response:
    """The driver's log of an attempt: all of it, its last lines, or what lies behind an offset."""
    return await answers.log(ctx, errand, SEARCH, search_id, attempt, tail, offset)


@router.get(
    "/v1/searches/{search_id}/report", response_class=FileResponse, responses={200: {"content": {"text/html": {}}}}
)
def report(search_id: SearchId, ctx: Ctx, caller: User) -> FileResponse:
    """The newest report: one HTML page that needs nothing else."""
    return answers.report(ctx, SEARCH, search_id, WHEN)


def _shown(ctx: Context, search: Job) -> SearchReply:
    with ctx.db.read() as session:
        return _reply(session, search)


def _reply(session: Session, search: Job) -> SearchReply:
    return SearchReply.of(search, trials.standings(session, [search])[search.number])


def _changed(ctx: Context, change: Callable[[Session], Job]) -> SearchReply:
    """The search after the change; the reconciler hears of it once it is committed."""
    with ctx.db.begin() as session:
        search = change(session)
        session.flush()
        answer = _reply(session, search)
    ctx.ring(search.number)
    return answer
