"""How webhooks and what they sent are printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from service.cli.output import ago, note, out, print_facts, print_json, print_table, state, until

if TYPE_CHECKING:
    from service.client import Delivery, NewWebhook, Webhook


def condition(hook: Webhook) -> str:
    """Whether it is on, and works."""
    if not hook.enabled:
        return "off"
    if hook.held:
        return "held"
    return f"failing since {ago(hook.failing_since)}" if hook.failing_since else "on"


def print_webhook(hook: Webhook, json_: bool) -> None:
    """Without its secret."""
    if json_:
        print_json(hook.model_dump(mode="json"))
        return
    print_facts(
        [
            ("webhook", hook.id),
            ("owner", hook.owner),
            ("url", hook.url),
            ("events", ", ".join(hook.events)),
            ("runs of", "everybody" if hook.runs_of == "*" else hook.runs_of),
            ("labels", ", ".join(f"{name}={value}" for name, value in hook.labels.items())),
            ("is", condition(hook)),
            ("reason", hook.reason or hook.held),
            ("about", hook.description),
            ("etag", hook.etag.strip('"')),
        ]
    )


def print_secret(hook: NewWebhook, json_: bool) -> None:
    """The secret alone on stdout."""
    if json_:
        print_json(hook.model_dump(mode="json"))
        return
    out.print(hook.secret)
    note(f"shown this once; it signs what webhook {hook.id} sends   try it: agon webhooks test {hook.id}")


def print_deliveries(found: Sequence[Delivery]) -> None:
    """One a line."""
    rows = [
        (
            item.id,
            item.type,
            state(item.outcome),
            item.attempts,
            "" if item.status is None else item.status,
            ago(item.told_at),
            until(item.next_at),
            item.error,
        )
        for item in found
    ]
    columns = ("delivery", "type", "outcome", "attempts", "status", "told", "next", "why")
    print_table(columns, rows, "no deliveries yet; try it: agon webhooks test WEBHOOK")
