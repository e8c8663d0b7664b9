"""Searches and their trials."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import FileResponse
from sqlalchemy.orm import Session
from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from service import etags
from service.access.callers import Away, User
from service.bodies.base import Page
from service.bodies.edits import SearchEdit
from service.bodies.forks import Lineage
from service.bodies.searches import Extension, Search, SearchRequest, Trial, TrialDetail
from service.bodies.states import State
from service.bodies.waiting import Waiting
from service.context import Context, Ctx
from service.db import tables
from service.etags import UNCHANGED, IfMatch, IfNoneMatch
from service.paging import Cursor, Limit, Onward
from service.repeats.key import REPLAYED, Key
from service.runs import answers, checkpoints, files, lineage, lists, removal, submissions, trials, waiting, wishes
from service.runs import store as runs
from service.runs.answers import LastEventId
from service.runs.kinds import SEARCH
from service.runs.lists import Filter, Labels, Owner, Scores, Wanted
from service.runs.removal import WithMlflow
from service.searches import draft, replies, store
from service.specs import edits
from trainer.search import SearchSpec, TrialRecord, TrialState, parse_search
from trainer.search.space import trial_spec
from trainer.search.trial import trial_dir

router = APIRouter(tags=["searches"])
SearchId = Annotated[str, Path(max_length=40, pattern=r"^[a-z0-9-]+$", examples=["s-0123456789ab"])]
TrialId = Annotated[str, Path(max_length=16, pattern=r"^[a-z0-9-]+$", examples=["t-00003"])]
EDITOR = edits.of_searches(partial(draft.check_fit, base="base"))
WHEN = "one is written while its trials train, once the first of them is scored, and at its end"


@router.post("/v1/searches", status_code=201)
async def create(
    body: SearchRequest, ctx: Ctx, caller: User, errand: Away, response: Response, idempotency_key: Key = None
) -> Search:
    """Submit a search. With an `Idempotency-Key`, the same body again answers with the same search and starts no second one.

    One whose trials can't fit the cluster, or the memory of its machines, is refused with the reason.
    """
    digest = draft.digest(body)
    known = await run_in_threadpool(submissions.find_repeated, ctx.db, caller.id, idempotency_key, digest)
    if known is not None:
        search, new = known, False
    else:
        spec = await draft.resolve(body, ctx, errand)
        await draft.check_fit(spec, ctx, errand)
        most = ctx.settings.fair_share_hours
        asked = submissions.Submission(SEARCH.new_id(), spec, caller, digest, idempotency_key, SEARCH, most_delay=most)
        search, new = await run_in_threadpool(submissions.create, ctx.db, asked)
    response.headers["Location"] = f"/v1/searches/{search.id}"
    if new:
        ctx.ring(search.number)
    else:
        response.headers[REPLAYED] = "true"
    return await run_in_threadpool(_shown, ctx, search)


@router.post("/v1/searches/validate")
async def validate(body: SearchRequest, ctx: Ctx, caller: User, errand: Away) -> SearchSpec:
    """The resolved search as a submission would store it; nothing starts."""
    return await draft.resolve(body, ctx, errand)


@router.get("/v1/searches")
def list_searches(
    ctx: Ctx,
    caller: User,
    onward: Onward,
    labels: Labels,
    scores: Scores,
    state: State | None = None,
    name: Filter = None,
    owner: Owner = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[Search]:
    """Searches, newest first."""
    wanted = Wanted.read(labels, scores, state=state, name=name, owner=owner)
    with ctx.db.read() as session:
        rows, following = lists.page(session, SEARCH, wanted, limit=limit, cursor=cursor)
        standings, told = trials.standings(session, rows), waiting.briefly(session, rows, datetime.now(UTC))
    found = [replies.search(row, standings[row.number], told.get(row.number)) for row in rows]
    return onward(Page(items=found, next_cursor=following))


@router.get("/v1/searches/{search_id}", response_model=Search, responses=UNCHANGED)
def show(search_id: SearchId, ctx: Ctx, caller: User, if_none_match: IfNoneMatch = None) -> Response:
    """One search, with its best trial. `etag` and `ETag` as of a job."""
    with ctx.db.read() as session:
        search = runs.get(session, search_id, SEARCH)
        return etags.answer(_reply(session, search, waiting.fully(session, search, datetime.now(UTC))), if_none_match)


@router.get("/v1/searches/{search_id}/lineage")
def descent(
    search_id: SearchId, ctx: Ctx, caller: User, onward: Onward, limit: Limit = 50, cursor: Cursor = None
) -> Lineage:
    """The jobs that went on with a search's trials."""
    with ctx.db.read() as session:
        return onward(lineage.of(session, search_id, SEARCH, limit=limit, cursor=cursor))


@router.patch("/v1/searches/{search_id}")
async def edit(
    search_id: SearchId, body: SearchEdit, ctx: Ctx, caller: User, errand: Away, if_match: IfMatch = None
) -> Search:
    """Change some fields of a search: `name`, `labels`, `notes`, `limits` and `base.queue` at any time; `max_concurrent`, `base.resources`,
    `base.retry` and `base.publish` while it waits, is paused, or has ended.

    Other fields would make another search of it: 422. 409 in another state, saying what to do first. Whole or not at all. `If-Match` as of a job.
    """
    return await run_in_threadpool(_shown, ctx, await EDITOR.edit(ctx, errand, search_id, body.set, if_match))


@router.delete("/v1/searches/{search_id}", status_code=204, response_class=Response, responses=removal.ANSWERS)
async def delete(search_id: SearchId, ctx: Ctx, caller: User, errand: Away, mlflow: WithMlflow = False) -> Response:
    """Delete a search that has ended, with its trials. Jobs that were made of them keep what they began with.

    409 for one that has not ended, or has trials with pinned checkpoints. Else as `DELETE /v1/jobs/{job_id}`.
    """
    return await removal.delete(ctx, errand, SEARCH, search_id, mlflow)


@router.post("/v1/searches/{search_id}/cancel", status_code=202)
def cancel(search_id: SearchId, ctx: Ctx, caller: User) -> Search:
    """Ask a search to save its trials and end. Extending it lets it go on."""
    return _changed(ctx, lambda session: wishes.cancel(session, search_id, SEARCH))


@router.post("/v1/searches/{search_id}/pause", status_code=202)
def pause(search_id: SearchId, ctx: Ctx, caller: User) -> Search:
    """Ask a search to save its trials and free what it holds, to go on when it is resumed. 409 once it has ended or is being cancelled."""
    return _changed(ctx, lambda session: wishes.pause(session, search_id, SEARCH))


@router.post("/v1/searches/{search_id}/resume", status_code=202)
def resume(search_id: SearchId, ctx: Ctx, caller: User) -> Search:
    """Put a search that is paused, or has failed, back into the queue: its trials go on, or its best is registered at last.

    Of one that waits or runs nothing changes. 409 while it still saves its trials, and once it has ended otherwise.
    """
    return _changed(ctx, lambda session: wishes.resume(session, search_id, SEARCH))


@router.post("/v1/searches/{search_id}/extend", status_code=202)
def extend(search_id: SearchId, body: Extension, ctx: Ctx, caller: User) -> Search:
    """Let a search that has ended, or is paused, go on to so many trials in all, or with another budget."""
    return _changed(ctx, lambda session: store.extend(session, search_id, body))


@router.get("/v1/searches/{search_id}/trials")
def list_trials(
    search_id: SearchId,
    ctx: Ctx,
    caller: User,
    onward: Onward,
    state: TrialState | None = None,
    order: Annotated[
        Literal["score", "number"], Query(description="Best first (without a score: last), or as drawn.")
    ] = "score",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[Trial]:
    """Its trials, best first. By score, a trial may be on two pages or none if it is scored between two calls."""
    with ctx.db.read() as session:
        search = runs.get(session, search_id, SEARCH)
        by_score = order == "score"
        rows, following = trials.page(session, search, state=state, by_score=by_score, limit=limit, cursor=cursor)
    return onward(Page(items=[replies.trial(row) for row in rows], next_cursor=following))


@router.get("/v1/searches/{search_id}/trials/{trial_id}")
def show_trial(search_id: SearchId, trial_id: TrialId, ctx: Ctx, caller: User) -> TrialDetail:
    """One trial, with the spec that it trains and its newest checkpoint."""
    with ctx.db.read() as session:
        search = runs.get(session, search_id, SEARCH)
        row = trials.get(session, search, trial_id)
    record = TrialRecord.model_validate(row.record)
    spec = trial_spec(parse_search(search.spec), record.current, record.number)
    folder = files.job_dir(ctx.settings, search.id)
    newest = checkpoints.newest(trial_dir(folder, record.id))
    checkpoint = str(newest.relative_to(folder)) if newest is not None else None
    return replies.detail(row, spec, checkpoint)


@router.post("/v1/searches/{search_id}/trials/{trial_id}/stop", status_code=202)
def stop_trial(search_id: SearchId, trial_id: TrialId, ctx: Ctx, caller: User) -> Trial:
    """Ask one trial to end; it keeps its score. 409 once it has ended."""
    with ctx.db.begin() as session:
        return replies.trial(store.stop_trial(session, search_id, trial_id))


@router.get(
    "/v1/searches/{search_id}/events",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def events(search_id: SearchId, ctx: Ctx, caller: User, last_event_id: LastEventId = 0) -> EventSourceResponse:
    """Follow a search: its state, every event behind `Last-Event-ID`, then what comes; ends once the search has ended."""
    return await answers.events(ctx, caller, SEARCH, search_id, last_event_id)


@router.get(
    "/v1/searches/{search_id}/report", response_class=FileResponse, responses={200: {"content": {"text/html": {}}}}
)
def report(search_id: SearchId, ctx: Ctx, caller: User) -> FileResponse:
    """The newest report: one HTML page that needs nothing else."""
    return answers.report(ctx, SEARCH, search_id, WHEN)


def _shown(ctx: Context, search: tables.Job) -> Search:
    with ctx.db.read() as session:
        return _briefly(session, search)


def _briefly(session: Session, search: tables.Job) -> Search:
    return _reply(session, search, waiting.briefly(session, [search], datetime.now(UTC)).get(search.number))


def _reply(session: Session, search: tables.Job, told: Waiting | None) -> Search:
    return replies.search(search, trials.standings(session, [search])[search.number], told)


def _changed(ctx: Context, change: Callable[[Session], tables.Job]) -> Search:
    """The search after the change; the reconciler hears of it once it is committed."""
    with ctx.db.begin() as session:
        search = change(session)
        session.flush()
        answer = _briefly(session, search)
    ctx.ring(search.number)
    return answer
