"""Webhooks: one's own, for administrators all; each with what was sent, or will be."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.access.callers import User
from service.access.tokens import Principal, Scope
from service.bodies.webhooks import Outcome
from service.context import Ctx
from service.paging import Cursor
from service.web.admin.tabs import page
from service.webhooks import deliveries, events, store
from service.webhooks.routes import WebhookId

router = APIRouter(include_in_schema=False)
PAGE = 50
Told = Annotated[Outcome | None, Query()]
Delivery = Annotated[str | None, Query(max_length=80, pattern=r"^[A-Za-z0-9_-]+$")]


@router.get("/admin/webhooks")
def show_webhooks(request: Request, caller: User, ctx: Ctx, cursor: Cursor = None) -> Response:
    """All that the caller may see."""
    with ctx.db.read() as session:
        found = store.page(session, _whose(caller), PAGE, cursor, proxied=bool(ctx.settings.sso_header))
    return page(request, caller, "webhooks", found=found, types=events.TYPES, first=cursor is None)


@router.get("/admin/webhooks/{webhook_id}")
def show_webhook(
    request: Request, caller: User, ctx: Ctx, webhook_id: WebhookId, outcome: Told = None, cursor: Cursor = None, delivery: Delivery = None,
) -> Response:  # fmt: skip
    """One, with its deliveries; of one of them what it says."""
    with ctx.db.read() as session:
        hook = store.get(session, webhook_id, _whose(caller))
        shown = store.shown(session, hook, proxied=bool(ctx.settings.sso_header))
        found = deliveries.page(session, hook, outcome, PAGE, cursor)
        whole = deliveries.shown_whole(deliveries.get(session, hook, delivery)) if delivery else None
    return page(
        request, caller, "webhooks", "webhook", hook=shown, found=found, whole=whole, outcome=outcome, outcomes=list(Outcome),
        first=cursor is None,
    )  # fmt: skip


def _whose(caller: Principal) -> str | None:
    """None: everybody's."""
    return None if caller.scope is Scope.ADMIN else caller.owner
