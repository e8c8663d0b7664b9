"""All SQL on webhooks that requests need; that on their deliveries is in `service.webhooks.deliveries`."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service import etags, paging
from service.bodies import webhooks as bodies
from service.bodies.base import Page
from service.db.session import take_turn
from service.db.tables import Webhook
from service.errors import Conflict, NotFound
from service.runs import tape
from service.webhooks import deliveries
from service.webhooks.holding import Whose, held

MOST_OF_ONE = 20
"""Webhooks of one owner."""
OVERLAP = timedelta(hours=24)
"""So long an old secret signs, too, after it was replaced."""
MOST_OLD = 4
"""Old secrets that sign; whoever replaces them faster loses the oldest."""
SECRET_BYTES = 32


def new_secret() -> str:
    """256 random bits, as the specification writes them."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signing(hook: Webhook, now: datetime) -> list[str]:
    """The secrets that sign now, the newest first."""
    return [hook.secret, *(old["secret"] for old in hook.old_secrets if old["until"] > now.timestamp())]


def add(session: Session, owner: str, asked: bodies.WebhookRequest) -> Webhook:
    """A new webhook; it hears of what happens from now on. Raises Conflict if its owner has as many as they may."""
    take_turn(session, f"webhooks of {owner}")
    has = session.scalar(select(func.count()).select_from(Webhook).where(Webhook.owner == owner)) or 0
    if has >= MOST_OF_ONE:
        raise Conflict(
            f"{owner} has {has} webhooks, and may have {MOST_OF_ONE}; remove one: GET /v1/webhooks lists them"
        )
    hook = Webhook(
        id=f"w-{secrets.token_hex(6)}",
        owner=owner,
        url=asked.url,
        events=list(dict.fromkeys(asked.events)),
        runs_of=asked.runs_of or owner,
        labels=asked.labels,
        description=asked.description,
        secret=new_secret(),
        old_secrets=[],
        enabled=True,
        reason="",
        place=tape.end(session).place,
        created_at=datetime.now(UTC),
    )
    session.add(hook)
    session.flush()
    return hook


def page(session: Session, owner: str | None, limit: int, cursor: str | None, *, proxied: bool) -> Page[bodies.Webhook]:
    """One owner's, or all, oldest first. Raises Invalid."""
    after = paging.decode(cursor) or 0
    found = select(Webhook).where(Webhook.number > after).order_by(Webhook.number).limit(limit + 1)
    rows = session.scalars(found if owner is None else found.where(Webhook.owner == owner)).all()
    more = paging.encode(rows[limit - 1].number) if len(rows) > limit else None
    waits = held(session, map(_whose, rows[:limit]), proxied=proxied)
    items = [bodies.Webhook(**_facts(row), held=waits.get(row.number, "")) for row in rows[:limit]]
    return Page(items=items, next_cursor=more)


def get(session: Session, webhook_id: str, owner: str | None, *, lock: bool = False) -> Webhook:
    """One of them. owner: another's is none that there is; None: anybody's. Raises NotFound."""
    statement = select(Webhook).where(Webhook.id == webhook_id)
    hook = session.scalar(statement.with_for_update() if lock else statement)
    if hook is None or owner not in (None, hook.owner):
        raise NotFound(f"no webhook {webhook_id!r}; GET /v1/webhooks lists them")
    return hook


def edit(session: Session, hook: Webhook, asked: bodies.WebhookEdit, if_match: str | None) -> None:
    """Change what is given. The caller holds the row's lock. Raises PreconditionFailed."""
    new = asked.model_dump(exclude_none=True)
    if all(getattr(hook, name) == value for name, value in new.items()):
        return  # it may have been sent again
    check(hook, if_match)
    enabled = new.pop("enabled", hook.enabled)
    for name, value in new.items():
        setattr(hook, name, list(dict.fromkeys(value)) if name == "events" else value)
    if enabled and not hook.enabled:
        hook.enabled, hook.reason, hook.place = True, "", tape.end(session).place
        hook.failing_since, hook.quiet_until = None, None
    elif not enabled and hook.enabled:
        deliveries.switch_off(session, hook, "")


def check(hook: Webhook, if_match: str | None) -> None:
    """Raises PreconditionFailed unless it is of that edition."""
    etags.check(if_match, _edition(hook), f"webhook {hook.id}")


def rotate(hook: Webhook, now: datetime) -> None:
    """Give it another secret; the one before signs, too, for `OVERLAP`. The caller holds the row's lock."""
    old = [{"secret": hook.secret, "until": (now + OVERLAP).timestamp()}, *hook.old_secrets]
    hook.old_secrets = [item for item in old if item["until"] > now.timestamp()][:MOST_OLD]
    hook.secret = new_secret()


def why_held(session: Session, hook: Webhook, *, proxied: bool) -> str:
    """Empty: it isn't."""
    return held(session, [_whose(hook)], proxied=proxied).get(hook.number, "")


def shown(session: Session, hook: Webhook, *, proxied: bool) -> bodies.Webhook:
    """As the API shows it."""
    return bodies.Webhook(**_facts(hook), held=why_held(session, hook, proxied=proxied))


def shown_once(session: Session, hook: Webhook, *, proxied: bool) -> bodies.NewWebhook:
    """With its secret."""
    return bodies.NewWebhook(**_facts(hook), held=why_held(session, hook, proxied=proxied), secret=hook.secret)


def _whose(hook: Webhook) -> Whose:
    return Whose(hook.number, hook.owner, hook.runs_of)


def _facts(hook: Webhook) -> dict[str, Any]:
    names = (
        "id",
        "owner",
        "url",
        "runs_of",
        "labels",
        "description",
        "enabled",
        "reason",
        "failing_since",
        "created_at",
    )
    return {**{name: getattr(hook, name) for name in names}, "events": tuple(hook.events), "etag": _edition(hook)}


def _edition(hook: Webhook) -> str:
    events: Sequence[str] = hook.events
    return etags.edition(hook.id, hook.url, list(events), hook.labels, hook.description, hook.enabled)
