"""All SQL on deliveries: who may send which, what came of it, what is sent again, what is forgotten."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, or_, select, text, update
from sqlalchemy.orm import Session

from service import paging, tallies
from service.bodies import webhooks as bodies
from service.bodies.base import Page
from service.bodies.webhooks import Outcome
from service.db.session import Database
from service.db.tables import AT_ONCE, Webhook, WebhookDelivery
from service.db.webhooks import PENDING
from service.errors import NotFound
from service.webhooks import schedule
from service.webhooks.events import TEST
from service.webhooks.holding import Whose, held
from service.webhooks.schedule import Answer, Verdict

LEASE = timedelta(seconds=60)
"""So long whoever has taken a delivery has to send it, before another does: well beyond the longest attempt."""
SWITCHED_OFF = "the webhook was switched off"
FORGOTTEN_AT_ONCE = 1000
logger = logging.getLogger("agon.webhooks")


@dataclass(frozen=True)
class Line:
    """A webhook for which something is due."""

    webhook: int
    owner: str
    failing: bool


@dataclass(frozen=True)
class Parcel:
    """A delivery that this process has taken."""

    number: int
    fence: int
    line: Line
    url: str
    secrets: tuple[str, ...]
    id: str
    type: str
    body: str


def due(db: Database, now: datetime, full: Collection[int] = (), *, proxied: bool = False) -> list[Line]:
    """Webhooks for which something is due, who has waited longest first; without those that are `full`, or held.

    proxied: a proxy signs people on.
    """
    first = (
        select(func.min(WebhookDelivery.due_at))
        .where(WebhookDelivery.webhook_number == Webhook.number, text(PENDING))
        .correlate(Webhook)
        .scalar_subquery()
    )
    found = (
        select(Webhook.number, Webhook.owner, Webhook.runs_of, Webhook.failing_since)
        .where(Webhook.enabled, first <= now, or_(Webhook.quiet_until.is_(None), Webhook.quiet_until <= now))
        .where(Webhook.number.not_in(list(full)))
        .order_by(first)
    )
    with db.read() as session:
        rows = session.execute(found).all()
        waits = held(session, (Whose(*row[:3]) for row in rows), proxied=proxied)
    return [Line(number, owner, since is not None) for number, owner, _, since in rows if number not in waits]


def take(
    db: Database, line: Line, count: int, now: datetime, signing: Callable[[Webhook], Sequence[str]]
) -> list[Parcel]:
    """Take up to that many of a webhook's deliveries that are due. signing: says which secrets sign, of its row."""
    with db.begin() as session:
        hook = session.get(Webhook, line.webhook)
        if hook is None or not hook.enabled:
            return []
        ready = (WebhookDelivery.webhook_number == hook.number, text(PENDING), WebhookDelivery.due_at <= now)
        first = select(WebhookDelivery.number).where(*ready).order_by(WebhookDelivery.due_at).limit(count)
        mine = update(WebhookDelivery).where(WebhookDelivery.number.in_(session.scalars(first).all()), *ready)
        taken = session.scalars(
            mine.values(due_at=now + LEASE, fence=WebhookDelivery.fence + 1).returning(WebhookDelivery),
            execution_options={"synchronize_session": False},
        ).all()
        return [
            Parcel(row.number, row.fence, line, hook.url, tuple(signing(hook)), row.id, row.type, row.body)
            for row in taken
        ]


def record(db: Database, parcel: Parcel, answer: Answer, now: datetime, jitter: float) -> Verdict | None:
    """Write what came of an attempt; None: the delivery is not ours any more, and nothing was written."""
    with db.begin() as session:
        hook = session.scalar(select(Webhook).where(Webhook.number == parcel.line.webhook).with_for_update())
        mine = (WebhookDelivery.number == parcel.number, WebhookDelivery.fence == parcel.fence, text(PENDING))
        row = session.scalar(select(WebhookDelivery).where(*mine).with_for_update())
        if hook is None or row is None:
            return None
        row.attempts, row.sent_at, row.status, row.error = row.attempts + 1, now, answer.status, ""
        most = 1 if row.type == TEST else len(schedule.DELAYS)
        verdict = schedule.judge(row.attempts, answer, jitter, most)
        if verdict.delivered:
            end(row, Outcome.DELIVERED, now)
            hook.failing_since = None
        else:
            row.error = answer.why
            row.due_at = now + timedelta(seconds=verdict.wait) if verdict.wait is not None else None
            if verdict.wait is None:
                end(row, Outcome.FAILED, now)
            _suffer(session, hook, row, verdict, now)
        tallies.once_committed(session, tallies.WEBHOOKS.labels(_outcome(verdict)).inc)
        return verdict


def _outcome(verdict: Verdict) -> str:
    return "delivered" if verdict.delivered else "failed" if verdict.wait is None else "again"


def _suffer(session: Session, hook: Webhook, row: WebhookDelivery, verdict: Verdict, now: datetime) -> None:
    """What an attempt that failed does to its webhook."""
    if verdict.quiet is not None:
        until = now + timedelta(seconds=verdict.quiet)
        hook.quiet_until = max(hook.quiet_until or until, until)
    if verdict.gone:
        switch_off(session, hook, f"its receiver answered {schedule.GONE}: it wants no more messages", now)
        return
    if row.type == TEST:  # by hand, and of nothing that happened
        return
    hook.failing_since = min(hook.failing_since or now, now)
    if verdict.wait is None and now - hook.failing_since >= schedule.FAILING:
        since = hook.failing_since.isoformat(timespec="minutes")
        switch_off(session, hook, f"no attempt has succeeded since {since}; the last one: {row.error}", now)


def end(row: WebhookDelivery, outcome: Outcome, now: datetime) -> None:
    """It isn't sent any more."""
    row.outcome, row.due_at, row.ended_at = outcome, None, now


def switch_off(session: Session, hook: Webhook, reason: str, now: datetime | None = None) -> None:
    """Send it nothing more. reason: why, unless somebody did it. The caller holds the row's lock."""
    hook.enabled, hook.reason = False, reason
    if reason:
        logger.warning(
            "webhook switched off", extra={"facts": {"webhook": hook.id, "owner": hook.owner, "reason": reason}}
        )
    session.flush()
    waiting = update(WebhookDelivery).where(WebhookDelivery.webhook_number == hook.number, text(PENDING))
    ended = {"outcome": Outcome.FAILED, "due_at": None, "ended_at": now or datetime.now(UTC)}
    session.execute(waiting.values(error=SWITCHED_OFF, **ended), execution_options={"synchronize_session": False})


# -- for requests


def page(
    session: Session, hook: Webhook, outcome: Outcome | None, limit: int, cursor: str | None
) -> Page[bodies.Delivery]:
    """Newest first. Raises Invalid."""
    before = paging.decode(cursor)
    found = select(WebhookDelivery).where(WebhookDelivery.webhook_number == hook.number)
    if outcome is not None:
        found = found.where(WebhookDelivery.outcome == outcome)
    if before is not None:
        found = found.where(WebhookDelivery.number < before)
    rows = session.scalars(found.order_by(WebhookDelivery.number.desc()).limit(limit + 1)).all()
    more = paging.encode(rows[limit - 1].number) if len(rows) > limit else None
    return Page(items=[shown(row) for row in rows[:limit]], next_cursor=more)


def get(session: Session, hook: Webhook, delivery_id: str) -> WebhookDelivery:
    """One of them. Raises NotFound."""
    found = select(WebhookDelivery).where(WebhookDelivery.webhook_number == hook.number)
    row = session.scalar(found.where(WebhookDelivery.id == delivery_id))
    if row is None:
        raise NotFound(f"no delivery {delivery_id!r}; GET /v1/webhooks/{hook.id}/deliveries lists them")
    return row


def again(row: WebhookDelivery) -> None:
    """Send it as if it had never been tried."""
    row.outcome, row.attempts, row.due_at, row.ended_at = Outcome.PENDING, 0, AT_ONCE, None
    row.fence += 1  # whoever sends it now


def again_since(session: Session, hook: Webhook, since: datetime, *, delivered: bool) -> int:
    """The same of all from then on that have failed, and those that were delivered if asked for; how many there are."""
    ended = [Outcome.FAILED, *([Outcome.DELIVERED] if delivered else [])]
    chosen = (
        WebhookDelivery.webhook_number == hook.number,
        WebhookDelivery.told_at >= since,
        WebhookDelivery.outcome.in_(ended),
        WebhookDelivery.type != TEST,
    )
    new = {"outcome": Outcome.PENDING, "attempts": 0, "due_at": AT_ONCE, "ended_at": None}
    statement = update(WebhookDelivery).where(*chosen).values(**new, fence=WebhookDelivery.fence + 1)
    options = {"synchronize_session": False}
    return len(session.scalars(statement.returning(WebhookDelivery.number), execution_options=options).all())


def forget(db: Database, before: datetime) -> int:
    """Delete what has ended before that; how much it was."""
    count = 0
    old = select(WebhookDelivery.number).where(WebhookDelivery.ended_at < before).limit(FORGOTTEN_AT_ONCE)
    while True:
        with db.begin() as session:
            numbers = session.scalars(old).all()
            if not numbers:
                return count
            session.execute(delete(WebhookDelivery).where(WebhookDelivery.number.in_(numbers)))
        count += len(numbers)


def shown(row: WebhookDelivery) -> bodies.Delivery:
    """As the API lists it."""
    return bodies.Delivery(**_facts(row))


def shown_whole(row: WebhookDelivery) -> bodies.DeliveryDetail:
    """With its body."""
    return bodies.DeliveryDetail(**_facts(row), body=row.body)


def _facts(row: WebhookDelivery) -> dict[str, object]:
    names = ("id", "type", "run", "outcome", "attempts", "status", "error", "told_at", "sent_at")
    next_at = row.due_at if row.due_at is None or row.due_at > AT_ONCE else row.told_at
    return {**{name: getattr(row, name) for name in names}, "next_at": next_at}
