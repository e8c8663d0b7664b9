"""What all runs tell, as one stream."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query
from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from service.access.callers import User
from service.access.live import Ticket
from service.context import Context, Ctx
from service.errors import Invalid
from service.events.broadcast import Broadcast, Follower
from service.runs import tape
from service.runs.answers import HEARTBEAT_SECONDS
from service.runs.lists import Labels, Owner
from service.runs.lists import Wanted as Listed
from service.runs.tape import Mark, Wanted
from trainer.spec import FieldError

router = APIRouter(prefix="/v1/events", tags=["events"])
MOST_RUNS = 100
SEND_SECONDS = 60.0
"""One who takes nothing for so long is gone."""
After = Annotated[
    str | None,
    Header(alias="Last-Event-ID", max_length=48, description="The last `id` that was seen; 0: from the beginning."),
]
Runs = Annotated[
    list[Annotated[str, Query(max_length=40, pattern=r"^[a-z0-9-]+$")]],
    Query(default_factory=list, alias="run", max_length=MOST_RUNS, description="Only these jobs and searches, by id."),
]
Kind = Annotated[Literal["job", "search"] | None, Query(description="Only jobs, or only searches.")]
States = Annotated[bool, Query(description="Only changes of state.")]


@router.get(
    "",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def events(
    ctx: Ctx,
    caller: User,
    labels: Labels,
    runs: Runs,
    kind: Kind = None,
    owner: Owner = None,
    states: States = False,
    last_event_id: After = None,
) -> EventSourceResponse:
    """Follow all jobs and searches: every change of state and every event behind `Last-Event-ID`, then what comes; without an end.

    Each message's `data` is that of the run's own stream, and `run` in it says whose it is. Without `Last-Event-ID` it begins with
    what comes. A message `cut` ends the stream of one who reads more slowly than runs tell: go on with its id.
    """
    wanted = Wanted(kind, frozenset(runs), owner, Listed.read(labels, ()).labels, states)
    mark = None if last_event_id is None else await run_in_threadpool(_mark, ctx, last_event_id)
    follower = Follower(ctx.of(Broadcast), wanted, mark, Ticket.of(caller))
    return EventSourceResponse(
        follower.follow(),
        ping=HEARTBEAT_SECONDS,
        ping_message_factory=follower.heartbeat,
        send_timeout=SEND_SECONDS,
        headers={"Cache-Control": "no-store"},
    )


def _mark(ctx: Context, given: str) -> Mark:
    """Raises Invalid."""
    try:
        mark = Mark.parse(given)
    except ValueError as error:
        raise _no_id(
            given, "is no id of this stream", "send an id as it came, or 0 for all from the beginning"
        ) from error
    tape.place(ctx.db)
    with ctx.db.read() as session:
        if mark.place > tape.end(session).place:
            fix = (
                "the database was restored to an earlier day since; leave it out, or send 0 for all from the beginning"
            )
            raise _no_id(given, "lies ahead of all that was told", fix)
    return mark


def _no_id(given: str, message: str, fix: str) -> Invalid:
    return Invalid([FieldError(path="last-event-id", message=message, value=given, fix=fix)])
