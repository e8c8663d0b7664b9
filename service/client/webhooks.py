"""Calls about webhooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from service.bodies.base import Page
from service.bodies.webhooks import Delivery, DeliveryDetail, NewWebhook, Replayed, Webhook
from service.client.base import Calls, only_if, part


class WebhookCalls(Calls):
    """Part of `Client`. A webhook's messages are signed with its secret; `docs/webhooks.md` has a receiver that verifies."""

    def add_webhook(
        self,
        url: str,
        events: Sequence[str] = ("*",),
        *,
        runs_of: str | None = None,
        labels: Mapping[str, str] | None = None,
        description: str = "",
    ) -> NewWebhook:
        """Have what happens posted to a URL. events: types and patterns (`job.failed`, `search.*`). labels: only of runs that have them.

        runs_of: whose runs, by default one's own; others', and `*` for everybody's, for administrators. The secret is in this answer
        and nowhere else. Raises Invalid for a URL that messages can't go to, Conflict for one webhook too many.
        """
        body = {
            "url": url,
            "events": list(events),
            "runs_of": runs_of,
            "labels": dict(labels or {}),
            "description": description,
        }
        return self._read(NewWebhook, "POST", "/v1/webhooks", body=body)

    def webhooks(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Webhook]:
        """One page of one's own webhooks, for administrators of all, oldest first."""
        return self._read(Page[Webhook], "GET", "/v1/webhooks", params={"limit": limit, "cursor": cursor})

    def webhook(self, webhook: str) -> Webhook:
        """One webhook, by id."""
        return self._read(Webhook, "GET", f"/v1/webhooks/{part(webhook)}")

    def edit_webhook(
        self,
        webhook: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        labels: Mapping[str, str] | None = None,
        description: str | None = None,
        enabled: bool | None = None,
        if_match: str | None = None,
    ) -> Webhook:
        """Change what is given; what is None stays. if_match: its `etag` as it was seen; raises Changed if someone has changed it."""
        given = {
            "url": url,
            "events": None if events is None else list(events),
            "labels": None if labels is None else dict(labels),
            "description": description,
            "enabled": enabled,
        }
        body = {name: value for name, value in given.items() if value is not None}
        once = {"headers": only_if(if_match), "repeatable": True}
        return self._read(Webhook, "PATCH", f"/v1/webhooks/{part(webhook)}", body=body, **once)

    def remove_webhook(self, webhook: str, *, if_match: str | None = None) -> None:
        """Remove a webhook with its deliveries."""
        self._connection.call("DELETE", f"/v1/webhooks/{part(webhook)}", headers=only_if(if_match))

    def rotate_webhook(self, webhook: str) -> NewWebhook:
        """Give it a new secret, which is in this answer and nowhere else; the old one signs, too, for 24 hours."""
        return self._read(NewWebhook, "POST", f"/v1/webhooks/{part(webhook)}/rotate")

    def test_webhook(self, webhook: str) -> Delivery:
        """Send it a test, once. Raises Conflict while it is switched off."""
        return self._read(Delivery, "POST", f"/v1/webhooks/{part(webhook)}/test")

    def deliveries(
        self, webhook: str, *, outcome: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[Delivery]:
        """One page of what was sent to it, or will be, newest first. outcome: pending, delivered or failed."""
        params = {"outcome": outcome, "limit": limit, "cursor": cursor}
        return self._read(Page[Delivery], "GET", f"/v1/webhooks/{part(webhook)}/deliveries", params=params)

    def delivery(self, webhook: str, delivery: str) -> DeliveryDetail:
        """One of them, by its `webhook-id`, with its body."""
        return self._read(DeliveryDetail, "GET", f"/v1/webhooks/{part(webhook)}/deliveries/{part(delivery)}")

    def replay(self, webhook: str, delivery: str) -> Delivery:
        """Send one again, whatever came of it, with the same `webhook-id`. Raises Conflict while the webhook is switched off."""
        return self._read(Delivery, "POST", f"/v1/webhooks/{part(webhook)}/deliveries/{part(delivery)}/replay")

    def replay_since(self, webhook: str, since: datetime | str, *, delivered: bool = False) -> Replayed:
        """The same of all that happened from then on and has not arrived; `delivered`: also of what has."""
        when = since.isoformat() if isinstance(since, datetime) else since
        body = {"since": when, "delivered": delivered}
        return self._read(Replayed, "POST", f"/v1/webhooks/{part(webhook)}/replay", body=body)
