"""Webhooks over REST: whose they are, what can be asked for, and what is shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import hooks
import pytest
from hooks import Clock, Receiver, deliveries, drain, found, told

from service.webhooks import store
from service.webhooks.dispatcher import Dispatcher
from service.webhooks.schedule import Answer

pytestmark = pytest.mark.databases
URL = "https://hooks.example.com/agon"


def person(world: Any, name: str) -> dict[str, str]:
    made = world.client.post("/v1/tokens", json={"name": name})
    return {"Authorization": f"Bearer {made.json()['token']}"}


def add(world: Any, headers: dict[str, str] | None = None, **asked: Any) -> dict[str, Any]:
    reply = world.client.post("/v1/webhooks", json={"url": URL, **asked}, headers=headers)
    assert reply.status_code == 201, reply.text
    return dict(reply.json())


def dispatcher(world: Any, answer: Answer = hooks.OK) -> tuple[Dispatcher, Receiver]:
    receiver = Receiver(world.db, lambda _: answer)
    return hooks.dispatcher(world.db, receiver, Clock()), receiver


def test_a_secret_is_shown_when_it_is_made_and_never_again(world: Any) -> None:
    made = add(world, description="the team's chat", events=["job.*", "job.*"])
    path = f"/v1/webhooks/{made['id']}"
    assert made["secret"].startswith("whsec_")
    assert (made["events"], made["runs_of"], made["enabled"], made["reason"]) == (["job.*"], "admin", True, "")
    rotated = world.client.post(f"{path}/rotate").json()
    assert rotated["secret"] not in ("", made["secret"])
    for answer in (
        world.client.get(path),
        world.client.get("/v1/webhooks"),
        world.client.patch(path, json={"enabled": True}),
    ):
        assert answer.status_code == 200
        assert "whsec" not in answer.text
        assert "secret" not in answer.text


def test_a_secret_is_not_kept_for_who_asks_again(world: Any) -> None:
    headers = {"Idempotency-Key": '"once"'}
    made = add(world, headers)
    again = world.client.post("/v1/webhooks", json={"url": URL}, headers=headers)
    assert (again.status_code, made["id"] in again.text, "whsec" in again.text) == (409, True, False)
    assert len(world.client.get("/v1/webhooks").json()["items"]) == 1


def test_people_have_their_own_and_administrators_see_all(world: Any) -> None:
    ada, bob = person(world, "ada"), person(world, "bob")
    mine, theirs = add(world, ada), add(world, bob)
    everybody = add(world, runs_of="*")
    for headers, known in ((ada, [mine]), (bob, [theirs]), (None, [mine, theirs, everybody])):
        listed = world.client.get("/v1/webhooks", headers=headers).json()["items"]
        assert [item["id"] for item in listed] == [item["id"] for item in known]
    path = f"/v1/webhooks/{theirs['id']}"
    for method, suffix, body in (
        ("GET", "", None),
        ("PATCH", "", {"enabled": False}),
        ("DELETE", "", None),
        ("POST", "/rotate", None),
        ("POST", "/test", None),
        ("POST", "/replay", {"since": datetime.now(UTC).isoformat()}),
        ("GET", "/deliveries", None),
        ("GET", "/deliveries/msg_1", None),
        ("POST", "/deliveries/msg_1/replay", None),
    ):
        refused = world.client.request(method, path + suffix, json=body, headers=ada)
        assert refused.status_code in (403, 404), (method, suffix)
        assert theirs["url"] not in refused.text
    for runs_of in ("*", "bob"):
        assert world.client.post("/v1/webhooks", json={"url": URL, "runs_of": runs_of}, headers=ada).status_code == 403
    assert world.client.patch(path, json={"description": "ours"}).json()["description"] == "ours"
    assert add(world, ada, runs_of="ada")["runs_of"] == "ada"


def test_whatever_is_wrong_is_named_with_the_way_out(world: Any) -> None:
    reply = world.client.post(
        "/v1/webhooks", json={"url": "https://10.0.0.1/", "events": ["job.failed", "job.exploded", "x"]}
    )
    assert reply.status_code == 422
    errors = {error["path"]: error for error in reply.json()["errors"]}
    assert set(errors) == {"url", "events.1", "events.2"}
    assert "AGON_WEBHOOKS_ALLOW=10.0.0.1" in errors["url"]["fix"]
    assert "job.failed" in errors["events.1"]["fix"]
    made = add(world)
    assert world.client.patch(f"/v1/webhooks/{made['id']}", json={"url": "http://x.example/"}).status_code == 422
    for body in ({"url": URL, "secret": "mine"}, {"url": URL, "events": []}, {}, {"url": URL, "labels": {"a b": "c"}}):
        assert world.client.post("/v1/webhooks", json=body).status_code == 422, body


def test_an_owner_has_so_many_and_no_more(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_OF_ONE", 2)
    ada = person(world, "ada")
    add(world, ada), add(world, ada)
    refused = world.client.post("/v1/webhooks", json={"url": URL}, headers=ada)
    assert (refused.status_code, "may have 2" in refused.json()["detail"]) == (409, True)
    add(world)


def test_lists_come_in_pages(world: Any) -> None:
    made = [add(world)["id"] for _ in range(3)]
    first = world.client.get("/v1/webhooks", params={"limit": 2}).json()
    second = world.client.get("/v1/webhooks", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [item["id"] for item in (*first["items"], *second["items"])] == made
    assert second["next_cursor"] is None
    told(world.db, "queued", "running", "succeeded")
    one, _ = dispatcher(world)
    drain(one)
    path, seen, cursor = f"/v1/webhooks/{made[0]}/deliveries", [], None
    while True:
        page = world.client.get(path, params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [item["type"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ["job.succeeded", "job.running", "job.queued"]


def test_an_edit_of_what_someone_has_changed_is_refused(world: Any) -> None:
    made = add(world)
    path = f"/v1/webhooks/{made['id']}"
    seen = world.client.get(path)
    assert world.client.get(path, headers={"If-None-Match": seen.headers["ETag"]}).status_code == 304
    headers = {"If-Match": seen.json()["etag"]}
    assert world.client.patch(path, json={"events": ["job.failed"]}, headers=headers).status_code == 200
    assert world.client.patch(path, json={"events": ["job.failed"]}, headers=headers).status_code == 200, "sent again"
    assert world.client.patch(path, json={"events": ["*"]}, headers=headers).status_code == 412
    assert world.client.delete(path, headers=headers).status_code == 412
    assert world.client.delete(path).status_code == 204
    assert world.client.get(path).status_code == 404


def test_a_delivery_shows_what_was_sent_and_what_came_of_it(world: Any) -> None:
    made = add(world)
    path = f"/v1/webhooks/{made['id']}/deliveries"
    run = told(world.db, "running")
    one, receiver = dispatcher(world, Answer(500))
    hooks.sent(one)
    (item,) = world.client.get(path, params={"outcome": "pending"}).json()["items"]
    assert (item["type"], item["run"], item["attempts"], item["status"], item["error"]) == (
        "job.running", run, 1, 500, "answered 500",
    )  # fmt: skip
    assert item["next_at"] is not None
    whole = world.client.get(f"{path}/{item['id']}").json()
    assert (whole["id"], whole["body"]) == receiver.came[0]
    assert world.client.get(path, params={"outcome": "delivered"}).json()["items"] == []
    assert world.client.get(path, params={"outcome": "lost"}).status_code == 422
    assert world.client.get(f"{path}/msg_none").status_code == 404


def test_one_delivery_is_replayed_whatever_came_of_it(world: Any) -> None:
    made = add(world)
    told(world.db, "running")
    one, receiver = dispatcher(world)
    drain(one)
    (row,) = deliveries(world.db, made["id"])
    reply = world.client.post(f"/v1/webhooks/{made['id']}/deliveries/{row.id}/replay")
    assert (reply.status_code, reply.json()["outcome"], reply.json()["attempts"]) == (202, "pending", 0)
    drain(one)
    assert [id_ for id_, _ in receiver.came] == [row.id] * 2


def test_a_range_is_replayed_and_says_how_much_it_is(world: Any) -> None:
    made, since = add(world), datetime.now(UTC)
    told(world.db, "queued", "running")
    one, receiver = dispatcher(world)
    drain(one)
    path = f"/v1/webhooks/{made['id']}/replay"
    for delivered, again in ((False, 0), (True, 2)):
        reply = world.client.post(path, json={"since": since.isoformat(), "delivered": delivered})
        assert (reply.status_code, reply.json()) == (202, {"again": again})
    assert world.client.post(path, json={"since": "9999-12-31T23:59:59-12:00"}).json() == {"again": 0}
    drain(one)
    assert len(receiver.came) == 4
    assert len({id_ for id_, _ in receiver.came}) == 2
    old = (datetime.now(UTC) - timedelta(days=world.settings.webhooks_keep_days + 1)).isoformat()
    for wrong in (old, "2026-11-30T12:00:00", "yesterday"):
        refused = world.client.post(path, json={"since": wrong})
        assert (refused.status_code, [error["path"] for error in refused.json()["errors"]]) == (422, ["since"])


def test_a_test_is_sent_once_and_changes_nothing_else(world: Any) -> None:
    made = add(world, events=["job.failed"])
    sent = world.client.post(f"/v1/webhooks/{made['id']}/test").json()
    assert (sent["type"], sent["outcome"], sent["run"]) == ("webhook.test", "pending", "")
    one, receiver = dispatcher(world, Answer(500))
    drain(one)
    shown = world.client.get(f"/v1/webhooks/{made['id']}/deliveries/{sent['id']}").json()
    assert (shown["outcome"], shown["attempts"], shown["error"]) == ("failed", 1, "answered 500")
    assert found(world.db, made["id"]).failing_since is None
    assert receiver.types == ["webhook.test"]


def test_one_that_is_off_says_so_and_comes_back(world: Any) -> None:
    made = add(world)
    path = f"/v1/webhooks/{made['id']}"
    told(world.db, "queued")
    one, receiver = dispatcher(world, Answer(500))
    hooks.sent(one)
    assert world.client.patch(path, json={"enabled": False}).json()["enabled"] is False
    assert [row.outcome for row in deliveries(world.db, made["id"])] == ["failed"]
    for suffix, body in (("/test", None), ("/replay", {"since": datetime.now(UTC).isoformat()})):
        refused = world.client.post(path + suffix, json=body)
        assert (refused.status_code, f"PATCH {path}" in refused.json()["detail"]) == (409, True)
    told(world.db, "running")
    drain(one)
    shown = world.client.patch(path, json={"enabled": True}).json()
    assert (shown["enabled"], shown["reason"], shown["failing_since"]) == (True, "", None)
    told(world.db, "paused")
    hooks.sent(one)
    assert receiver.types == ["job.queued", "job.paused"]
