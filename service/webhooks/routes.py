"""Webhooks: people have their own, of their own runs; administrators see all, and may have ones of everybody's."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from sqlalchemy.orm import Session

from service import etags
from service.access.callers import User
from service.access.tokens import Principal, Scope
from service.bodies import webhooks as bodies
from service.bodies.base import Page
from service.bodies.webhooks import Delivery, DeliveryDetail, NewWebhook, Outcome, Replayed, Webhook
from service.context import Context, Ctx
from service.db import tables
from service.errors import Conflict, Forbidden, Invalid
from service.etags import UNCHANGED, IfMatch, IfNoneMatch
from service.paging import Cursor, Limit, Onward
from service.repeats.key import once
from service.settings import Settings
from service.webhooks import addresses, deliveries, events, gather, store
from trainer.spec import FieldError

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])
WebhookId = Annotated[str, Path(max_length=40, pattern=r"^[a-z0-9-]+$", examples=["w-0123456789ab"])]
DeliveryId = Annotated[
    str,
    Path(
        max_length=80, pattern=r"^[A-Za-z0-9_-]+$", examples=["msg_j-0123456789ab_57"], description="Its `webhook-id`."
    ),
]


@router.post("", status_code=201)
def add(body: bodies.WebhookRequest, ctx: Ctx, caller: User, request: Request, response: Response) -> NewWebhook:
    """Add a webhook. Its secret is in this answer and nowhere else: the same request again is answered 409."""
    if body.runs_of not in (None, caller.owner) and caller.scope is not Scope.ADMIN:
        raise Forbidden("only an administrator's token may have a webhook of others' runs; leave runs_of out")
    _check(body, ctx.settings)
    gather.placed(ctx.db)
    with ctx.db.begin() as session:
        found = store.shown_once(session, store.add(session, caller.owner, body), proxied=_proxied(ctx))
    once(
        request,
        _told_once(found),
    )
    response.headers["Location"] = f"/v1/webhooks/{found.id}"
    return found


@router.get("")
def list_webhooks(ctx: Ctx, caller: User, onward: Onward, limit: Limit = 50, cursor: Cursor = None) -> Page[Webhook]:
    """Users see their own, administrators all; oldest first."""
    with ctx.db.read() as session:
        return onward(store.page(session, _whose(caller), limit, cursor, proxied=_proxied(ctx)))


@router.get("/{webhook_id}", response_model=Webhook, responses=UNCHANGED)
def show(webhook_id: WebhookId, ctx: Ctx, caller: User, if_none_match: IfNoneMatch = None) -> Response:
    """One webhook, without its secret."""
    with ctx.db.read() as session:
        hook = store.get(session, webhook_id, _whose(caller))
        return etags.answer(store.shown(session, hook, proxied=_proxied(ctx)), if_none_match)


@router.patch("/{webhook_id}")
def edit(webhook_id: WebhookId, body: bodies.WebhookEdit, ctx: Ctx, caller: User, if_match: IfMatch = None) -> Webhook:
    """Change what is given; `enabled` switches it off, or on again. 412 if it is not as it was with the `etag` given as `If-Match`."""
    _check(body, ctx.settings)
    if body.enabled:
        gather.placed(ctx.db)
    with ctx.db.begin() as session:
        hook = store.get(session, webhook_id, _whose(caller), lock=True)
        store.edit(session, hook, body, if_match)
        return store.shown(session, hook, proxied=_proxied(ctx))


@router.delete("/{webhook_id}", status_code=204)
def remove(webhook_id: WebhookId, ctx: Ctx, caller: User, if_match: IfMatch = None) -> Response:
    """Remove a webhook with its deliveries."""
    with ctx.db.begin() as session:
        hook = store.get(session, webhook_id, _whose(caller), lock=True)
        store.check(hook, if_match)
        session.delete(hook)
    return Response(status_code=204)


@router.post("/{webhook_id}/rotate")
def rotate(webhook_id: WebhookId, ctx: Ctx, caller: User, request: Request) -> NewWebhook:
    """Give it a new secret, which is in this answer and nowhere else. For 24 hours messages are signed with the old one, too."""
    with ctx.db.begin() as session:
        hook = store.get(session, webhook_id, _whose(caller), lock=True)
        store.rotate(hook, datetime.now(UTC))
        found = store.shown_once(session, hook, proxied=_proxied(ctx))
    once(
        request,
        _told_once(found),
    )
    return found


@router.post("/{webhook_id}/test", status_code=202)
def send_test(webhook_id: WebhookId, ctx: Ctx, caller: User) -> Delivery:
    """Send a message of type `webhook.test`, once; the delivery says what came of it. 409 while the webhook is switched off, or held."""
    with ctx.db.begin() as session:
        hook = store.get(session, webhook_id, _whose(caller), lock=True)
        _check_on(session, hook, ctx)
        id_ = f"msg_test_{secrets.token_hex(12)}"
        gather.add(session, hook, [events.test(id_, hook.id, datetime.now(UTC))])
        return deliveries.shown(deliveries.get(session, hook, id_))


@router.post("/{webhook_id}/replay", status_code=202)
def replay_since(webhook_id: WebhookId, body: bodies.ReplayRequest, ctx: Ctx, caller: User) -> Replayed:
    """Send again, with the same `webhook-id`s, what happened from a moment on and has not arrived. 409 while it is switched off, or held."""
    since = _since(body.since, ctx.settings)
    with ctx.db.begin() as session:
        hook = store.get(session, webhook_id, _whose(caller), lock=True)
        _check_on(session, hook, ctx)
        hook.place = min(hook.place, gather.before(session, since))
        return Replayed(again=deliveries.again_since(session, hook, since, delivered=body.delivered))


@router.get("/{webhook_id}/deliveries")
def list_deliveries(
    webhook_id: WebhookId,
    ctx: Ctx,
    caller: User,
    onward: Onward,
    outcome: Annotated[Outcome | None, Query(description="Only those of which that became.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[Delivery]:
    """What was sent, or will be, newest first; what has ended is kept for `AGON_WEBHOOKS_KEEP_DAYS`."""
    with ctx.db.read() as session:
        hook = store.get(session, webhook_id, _whose(caller))
        return onward(deliveries.page(session, hook, outcome, limit, cursor))


@router.get("/{webhook_id}/deliveries/{delivery_id}")
def show_delivery(webhook_id: WebhookId, delivery_id: DeliveryId, ctx: Ctx, caller: User) -> DeliveryDetail:
    """One delivery, with what it says."""
    with ctx.db.read() as session:
        hook = store.get(session, webhook_id, _whose(caller))
        return deliveries.shown_whole(deliveries.get(session, hook, delivery_id))


@router.post("/{webhook_id}/deliveries/{delivery_id}/replay", status_code=202)
def replay(webhook_id: WebhookId, delivery_id: DeliveryId, ctx: Ctx, caller: User) -> Delivery:
    """Send one again, whatever came of it, with the same `webhook-id`. 409 while the webhook is switched off, or held."""
    with ctx.db.begin() as session:
        hook = store.get(session, webhook_id, _whose(caller), lock=True)
        _check_on(session, hook, ctx)
        row = deliveries.get(session, hook, delivery_id)
        deliveries.again(row)
        return deliveries.shown(row)


def _told_once(made: Webhook) -> str:
    """To who asks again with the same key."""
    path = f"/v1/webhooks/{made.id}"
    return (
        f"this request made the secret of {path}, and it was told once; if it is lost, make another: POST {path}/rotate"
    )


def _whose(caller: Principal) -> str | None:
    """Whose webhooks the caller may see and change; None: everybody's."""
    return None if caller.scope is Scope.ADMIN else caller.owner


def _check(body: bodies.WebhookRequest | bodies.WebhookEdit, settings: Settings) -> None:
    """Raises Invalid."""
    wrong = [found] if body.url is not None and (found := addresses.wrong(body.url, settings)) else []
    for index, pattern in enumerate(body.events or ()):
        if events.unknown(pattern):
            fix = f"write *, job.*, search.*, model.*, or some of {', '.join(events.TYPES)}"
            wrong.append(FieldError(path=f"events.{index}", message="is no type of event", value=pattern, fix=fix))
    if wrong:
        raise Invalid(wrong)


def _proxied(ctx: Context) -> bool:
    """Whether a proxy signs people on."""
    return bool(ctx.settings.sso_header)


def _check_on(session: Session, hook: tables.Webhook, ctx: Context) -> None:
    """Raises Conflict."""
    if not hook.enabled:
        raise Conflict(f"webhook {hook.id} is switched off; enable it first: PATCH /v1/webhooks/{hook.id}")
    if why := store.why_held(session, hook, proxied=_proxied(ctx)):
        raise Conflict(f"webhook {hook.id} is held: {why}")


def _since(moment: datetime, settings: Settings) -> datetime:
    """In UTC; what lies ahead is now. Raises Invalid."""
    now = datetime.now(UTC)
    oldest = now - timedelta(days=settings.webhooks_keep_days)
    if moment.tzinfo is None:
        message, fix = "has no zone", "write a time with its zone, e.g. 2026-11-01T00:00:00Z"
    elif moment < oldest:
        message = "lies before what is remembered, of which nobody could tell whether it has arrived"
        fix = f"give a time from {oldest.isoformat(timespec='minutes')} on"
    else:
        return min(moment, now).astimezone(UTC)
    raise Invalid([FieldError(path="since", message=message, value=moment.isoformat(), fix=fix)])
