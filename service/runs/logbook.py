"""The endpoints of logs, the same for jobs, searches and trials."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import StringConstraints
from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from service import paging
from service.access.callers import Away, User
from service.access.live import Ticket
from service.access.tokens import Principal
from service.bodies.base import Page
from service.bodies.logs import LogFile, LogLine
from service.bodies.states import State
from service.context import Context, Ctx
from service.db.tables import Job
from service.elsewhere import Errand
from service.errors import NotFound, Unavailable
from service.gateway.ray_jobs import RayUnreachableError
from service.paging import Cursor, Limit, Onward
from service.runs import files, logs
from service.runs.answers import HEARTBEAT_SECONDS
from service.runs.logarchive import pack
from service.runs.logowner import DRIVER, RANK, Attempt, Offset, Owner, Rank, Tail
from service.runs.logs import Log, Piece
from service.runs.logsearch import CURSOR, Hit, Wanted, place_of, search
from service.runs.logstream import LogHub, Reading, follow

Word = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\r\n]+$")]
Words = Annotated[
    list[Word],
    Query(
        min_length=1,
        max_length=5,
        description="What a line has to have: plain text, in one of up to five `text` parameters.",
        examples=[["error", "nan"]],
    ),
]
Among = Annotated[
    str | None, Query(pattern=RANK, description="Only of that worker, or of the `driver`; default: of all of them.")
]
Case = Annotated[bool, Query(description="Tell A to Z from a to z.")]
Around = Annotated[int, Query(ge=0, le=10, description="That many lines before and after each, too.")]
Going = Annotated[str | None, Query(pattern=CURSOR, description="`next_cursor` of the page before.")]
LastPlace = Annotated[
    str | None,
    Header(alias="Last-Event-ID", pattern=r"^[0-9]{1,9}-[0-9]{1,18}$", description="The last `id` that was seen."),
]
Only = Annotated[int | None, Query(ge=1, lt=2**31, description="Only of that attempt.")]
_RANKS = 100_001


def add(router: APIRouter, path: str, find: Callable[..., Owner]) -> None:
    """The endpoints of the logs below `path`. find: the dependency that says whose they are."""
    _add_one(router, path, Depends(find))
    _add_all(router, path, Depends(find))


def _add_one(router: APIRouter, path: str, whose: Any) -> None:
    """Of the log of one process."""

    @router.get(path, response_class=PlainTextResponse)
    async def read_log(
        ctx: Ctx,
        caller: User,
        errand: Away,
        owner: Owner = whose,
        attempt: Attempt = None,
        rank: Rank = None,
        tail: Tail = None,
        offset: Offset = None,
    ) -> Response:
        """What a process printed in an attempt, its driver or a worker: all of it, its last lines, or what lies behind an offset.

        It lies in the run's folder and stays when Ray is gone. Bytes as they were printed: control characters, too.
        """
        return await _text(ctx, errand, owner, owner.attempt(attempt), owner.rank(rank), tail, offset)

    @router.get(
        path + "/stream",
        response_class=EventSourceResponse,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )
    async def follow_log(
        ctx: Ctx,
        caller: User,
        owner: Owner = whose,
        attempt: Attempt = None,
        rank: Rank = None,
        tail: Tail = None,
        last_event_id: LastPlace = None,
    ) -> EventSourceResponse:
        """Follow a log: all of it, its last lines, or what lies behind `Last-Event-ID`; then what comes, and later attempts'.

        Ends, with the event `state`, once the run (or the trial) has ended and all is told.
        """
        return _stream(ctx, caller, owner, attempt, owner.rank(rank), tail, last_event_id)


def _add_all(router: APIRouter, path: str, whose: Any) -> None:
    """Of all that there are."""

    @router.get(path + "/list")
    def list_logs(
        ctx: Ctx, caller: User, onward: Onward, owner: Owner = whose, limit: Limit = 50, cursor: Cursor = None
    ) -> Page[LogFile]:
        """The logs that are kept: newest attempt first, in each the driver and then its workers."""
        return onward(_page(ctx, owner, limit, cursor))

    @router.get(path + "/search")
    async def search_logs(
        ctx: Ctx,
        caller: User,
        errand: Away,
        onward: Onward,
        text: Words,
        owner: Owner = whose,
        attempt: Attempt = None,
        rank: Among = None,
        case: Case = False,
        context: Around = 0,
        limit: Limit = 50,
        cursor: Going = None,
    ) -> Page[LogLine]:
        """The lines of an attempt's logs that have one of the words: its driver's first, then its workers'.

        A page takes two seconds at most and may end early, even without a line: `next_cursor` goes on until it is null.
        """
        wanted = Wanted.of(text, case, context)
        found = await run_in_threadpool(_among, ctx, owner, owner.attempt(attempt), rank)
        stop, begin = threading.Event(), None if cursor is None else place_of(cursor)
        answer = await ctx.elsewhere.logs.run(search, found, wanted, limit, begin, stop, errand=errand, stop=stop)
        following = answer.following.cursor() if answer.following else None
        return onward(Page(items=[_line(hit) for hit in answer.hits], next_cursor=following))

    @router.get(path + "/archive", response_class=Response, responses={200: {"content": {"application/x-tar": {}}}})
    def archive_logs(ctx: Ctx, caller: User, owner: Owner = whose, attempt: Only = None) -> StreamingResponse:
        """All logs that are kept, or those of one attempt, as a tar; of a search those of its trials, too."""
        return _archive(ctx, owner, attempt)


async def _text(
    ctx: Context, errand: Errand, owner: Owner, attempt: int, rank: int | None, tail: int | None, offset: int | None
) -> Response:
    headers = {"X-Log-Attempt": str(attempt), "Cache-Control": "no-cache"}
    headers |= {} if rank is None else {"X-Log-Rank": str(rank)}
    log = owner.log(ctx, attempt, rank)
    kept = await run_in_threadpool(log.exists)
    if kept and tail is None and offset is None:  # of any length
        pieces, end = await run_in_threadpool(logs.whole, log)
        return StreamingResponse(pieces, headers={"X-Log-Offset": str(end), **headers}, media_type="text/plain")
    if kept:
        piece = (
            await run_in_threadpool(logs.tail, log, tail)
            if tail
            else await run_in_threadpool(logs.piece, log, offset or 0)
        )
    elif rank is None and attempt:
        piece = await ctx.elsewhere.ray.run(partial(_of_ray, ctx, owner.job, attempt, tail, offset or 0), errand=errand)
    else:
        piece = _none(owner, attempt, rank)
    return PlainTextResponse(piece.text, headers={"X-Log-Offset": str(piece.end), **headers})


def _of_ray(ctx: Context, job: Job, attempt: int, tail: int | None, offset: int) -> Piece:
    """What Ray has of a driver that has not begun yet, or couldn't. Raises Unavailable."""
    try:
        text = ctx.ray.logs(files.submission_id(job.id, attempt)) or ""
    except RayUnreachableError as error:
        raise Unavailable(f"{error}; the log lies with Ray") from error
    return logs.of_text(text, tail, offset)


def _none(owner: Owner, attempt: int, rank: int | None) -> Piece:
    """There is nothing yet. Raises NotFound if nothing will come."""
    if attempt < owner.job.attempt or (rank is not None and State(owner.job.state).ended):
        raise NotFound(
            f"attempt {attempt} of {owner.name} left no log of rank {rank}; GET {owner.url}/list names those that are kept"
        )
    return Piece("")


def _stream(
    ctx: Context,
    caller: Principal,
    owner: Owner,
    attempt: int | None,
    rank: int | None,
    tail: int | None,
    last: str | None,
) -> EventSourceResponse:
    offset = 0
    if last is not None:
        attempt, offset, tail = *map(int, last.split("-")), None
    log = owner.log(ctx, owner.attempt(attempt or None), rank)
    reading = Reading(owner.job.number, log, logs.split(offset)[0], owner.trial)
    return EventSourceResponse(
        follow(ctx.of(LogHub), ctx.db, reading, offset, Ticket.of(caller), tail),
        ping=HEARTBEAT_SECONDS,
        headers={"Cache-Control": "no-store"},
    )


def _among(ctx: Context, owner: Owner, attempt: int, rank: str | None) -> list[Log]:
    """The logs that are looked through. Raises NotFound."""
    return owner.of_attempt(ctx, attempt) if rank is None else [owner.log(ctx, attempt, owner.rank(rank))]


def _line(hit: Hit) -> LogLine:
    return LogLine(
        attempt=hit.log.attempt,
        rank=hit.log.rank,
        line=hit.line,
        offset=hit.offset,
        text=hit.text,
        before=hit.before,
        after=tuple(hit.after),
    )


def _archive(ctx: Context, owner: Owner, attempt: int | None) -> StreamingResponse:
    prefix = f"{owner.name.partition(' ')[2].replace('/', '-')}-logs"
    if attempt is not None:
        owner.attempt(attempt)
    packed = pack(owner.everything(ctx, attempt), prefix)
    headers = {
        "Content-Length": str(packed.size),
        "Content-Disposition": f'attachment; filename="{prefix}.tar"',
        "Cache-Control": "no-store",
    }
    return StreamingResponse(packed.pieces(), headers=headers, media_type="application/x-tar")


def _page(ctx: Context, owner: Owner, limit: int, cursor: str | None) -> Page[LogFile]:
    before, found, last = paging.decode(cursor), list[LogFile](), 0
    for log in logs.logs(ctx.settings.jobs_root, owner.folder):
        key = log.attempt * _RANKS + _RANKS - 1 - (0 if log.rank is None else log.rank + 1)
        if before is not None and key >= before:
            continue
        if len(found) == limit:
            return Page(items=found, next_cursor=paging.encode(last))
        if (shown := _shown(log, owner.url)) is not None:
            found.append(shown)
            last = key
    return Page(items=found, next_cursor=None)


def _shown(log: Log, url: str) -> LogFile | None:
    """None: it is no file that may be read."""
    parts = log.parts()
    if not parts:
        return None
    return LogFile(
        attempt=log.attempt,
        rank=log.rank,
        bytes=sum(part.size for part in parts),
        cut=parts[-1].number > len(parts),
        written_at=max(part.written for part in parts),
        url=f"{url}?attempt={log.attempt}&rank={DRIVER if log.rank is None else log.rank}",
    )
