"""`agon webhooks`: added, tested, shown, changed, replayed and removed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from service.cli import webhooks

Agon = Callable[..., Any]


def test_a_webhook_is_added_tried_changed_and_removed(agon: Agon, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "LOOK_SECONDS", 0.05)
    assert "no webhooks" in agon("webhooks").err
    made = agon("webhooks", "add", "https://hooks.example.invalid/x", "--event", "job.*", "--label", "team=vision")
    assert (made.code, made.out.startswith("whsec_"), len(made.out.splitlines())) == (0, True, 1)
    (hook,) = json.loads(agon("webhooks", "--json").out)
    assert (hook["events"], hook["labels"]) == (["job.*"], {"team": "vision"})
    tried = agon("webhooks", "test", hook["id"])
    assert (tried.code, "name server" in tried.err, "failed" in tried.out) == (1, True, True)
    shown = agon("webhooks", hook["id"])
    assert "hooks.example.invalid" in shown.out
    assert "whsec" not in shown.out
    assert "off" in agon("webhooks", "edit", hook["id"], "--off").out
    refused = agon("webhooks", "test", hook["id"])
    assert (refused.code, f"agon webhooks edit {hook['id']}" in " ".join(refused.err.split())) == (4, True)
    assert agon("webhooks", "edit", hook["id"], "--on", "--event", "*").code == 0
    assert agon("webhooks", "rotate", hook["id"]).out.startswith("whsec_")
    (sent,) = json.loads(agon("webhooks", "deliveries", hook["id"], "--outcome", "failed", "--json").out)
    one = agon("webhooks", "deliveries", hook["id"], "--id", sent["id"])
    assert '"type":"webhook.test"' in one.out
    assert agon("webhooks", "replay", hook["id"], sent["id"]).code == 0
    assert agon("webhooks", "replay", hook["id"], "--since", "2099-11-01T00:00:00Z").code == 0
    assert agon("webhooks", "replay", hook["id"]).code == 2
    assert agon("webhooks", "add", "https://10.0.0.1/").code == 2
    assert agon("webhooks", "remove", hook["id"]).code == 0
    assert agon("webhooks", "show", hook["id"]).code == 4
