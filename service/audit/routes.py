"""The audit: administrators see everyone's, others what they did themselves."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from pydantic import AwareDatetime
from sse_starlette import EventSourceResponse

from service.access.callers import User
from service.access.live import Ticket
from service.access.tokens import Scope
from service.audit import replies, store
from service.audit.store import Outcome, Wanted
from service.audit.stream import AuditHub, follow
from service.audit.witness import Watch
from service.bodies.audit import AuditEntry
from service.bodies.base import Page
from service.context import Ctx
from service.errors import Forbidden
from service.paging import Cursor, Limit, Onward
from service.runs.answers import HEARTBEAT_SECONDS

router = APIRouter(prefix="/v1/audit", tags=["audit"])
Actor = Annotated[
    str | None,
    Query(
        max_length=64, pattern=r"^[A-Za-z0-9._@-]*$", description="Only this person's; empty: those of unknown tokens."
    ),
]
TokenId = Annotated[str | None, Query(max_length=40, description="Only what was done with this token, by id.")]
Action = Annotated[
    str | None,
    Query(
        max_length=40,
        pattern=r"^[a-z-]+(\.[a-z-]+)?$",
        description="Only this: `job.pause`, or `job` for all of that kind.",
    ),
]
Target = Annotated[str | None, Query(max_length=160, description="Only what was done to this, by id or name.")]
Moment = Annotated[AwareDatetime | None, Query(examples=["2026-11-01T00:00:00Z"])]


async def _asked(
    caller: User,
    actor: Actor = None,
    token: TokenId = None,
    action: Action = None,
    target: Target = None,
    outcome: Outcome | None = None,
    since: Moment = None,
    until: Moment = None,
) -> Wanted:
    """Raises Forbidden."""
    if caller.scope is not Scope.ADMIN:
        if actor not in (None, caller.owner):
            raise Forbidden("only an administrator's token sees what others did; leave `actor` out to see what you did")
        actor = caller.owner
    return Wanted(actor, token, action, target, outcome, since, until)


Asked = Annotated[Wanted, Depends(_asked)]


@router.get("")
def list_audit(ctx: Ctx, wanted: Asked, onward: Onward, limit: Limit = 50, cursor: Cursor = None) -> Page[AuditEntry]:
    """Who changed what, and who was refused a change, newest first."""
    ctx.of(Watch).refusals.write()
    with ctx.db.read() as session:
        rows, following = store.page(session, wanted, limit=limit, cursor=cursor)
        return onward(Page(items=[replies.entry(row) for row in rows], next_cursor=following))


@router.get(
    "/stream",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def stream(
    ctx: Ctx,
    caller: User,
    wanted: Asked,
    last_event_id: Annotated[int | None, Header(ge=0, lt=2**63, description="The last `id` that was seen.")] = None,
) -> EventSourceResponse:
    """The same as it grows: each record behind `Last-Event-ID`, or from now on, as a message `audit`; without an end."""
    return EventSourceResponse(
        follow(ctx.of(AuditHub), ctx.db, wanted, last_event_id, Ticket.of(caller)),
        ping=HEARTBEAT_SECONDS,
        headers={"Cache-Control": "no-store"},
    )
