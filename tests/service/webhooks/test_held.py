"""A webhook hears what its owner may hear: without a good token, or the role for it, nothing is sent, and it goes on when there is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import hooks
import pytest
from hooks import Clock, Receiver, deliveries, dispatcher, drain, found, hook, tell, told
from sqlalchemy import select

from service.access import people
from service.access import store as tokens
from service.access.tokens import Scope
from service.bodies.webhooks import WebhookRequest
from service.db.session import Database
from service.db.tables import Token
from service.errors import Conflict
from service.webhooks import store

pytestmark = pytest.mark.databases


def expire(db: Database, owner: str, until: datetime) -> None:
    """All tokens of theirs end then."""
    with db.begin() as session:
        for token in session.scalars(select(Token).where(Token.owner == owner)):
            token.expires_at = until


def role(db: Database, owner: str, given: Scope | None) -> None:
    with db.begin() as session:
        people.set_role(session, owner, given)


def why(db: Database, webhook: str, *, proxied: bool = False) -> str:
    with db.read() as session:
        return store.why_held(session, store.get(session, webhook, None), proxied=proxied)


def test_without_a_good_token_nothing_is_sent_and_all_of_it_once_there_is_one(
    db: Database, receiver: Receiver, clock: Clock
) -> None:
    adas, one = hook(db, "ada"), dispatcher(db, receiver, clock)
    hook(db, "bob", runs_of="ada")
    run = told(db, "queued", owner="ada")
    one.gatherer.gather()  # deliveries of `queued` are made, and wait
    expire(db, "ada", datetime.now(UTC) - timedelta(seconds=1))
    tell(db, run, "running")
    drain(one)
    assert receiver.types == ["job.queued", "job.running"], "bob's alone"
    assert "ada has no token that is good" in why(db, adas)
    assert [row.type for row in deliveries(db, adas)] == ["job.queued"], "the rest waits on the tape, not in rows"
    assert found(db, adas).enabled
    with db.begin() as session:
        tokens.create(session, "new", Scope.VIEWER, "ada")
    assert why(db, adas) == ""
    tell(db, run, "succeeded")
    drain(one)
    assert sorted(receiver.types) == sorted(["job.queued", "job.running", "job.succeeded"] * 2)


def test_one_of_others_runs_is_held_while_its_owner_is_no_administrator(
    db: Database, receiver: Receiver, clock: Clock
) -> None:
    own, all_, one = hook(db, "ada"), hook(db, "ada", runs_of="*"), dispatcher(db, receiver, clock)
    with db.begin() as session:
        tokens.create(session, "phone", Scope.VIEWER, "ada")
    assert why(db, all_) == "", "the other token is an administrator's"
    role(db, "ada", Scope.VIEWER)
    told(db, "queued", owner="bob")
    drain(one)
    assert (receiver.came, why(db, own)) == ([], "")
    assert "no administrator" in why(db, all_)
    role(db, "ada", Scope.ADMIN)
    drain(one)
    assert receiver.types == ["job.queued"]


def test_whom_a_proxy_signs_on_needs_no_token(db: Database) -> None:
    adas, all_ = hook(db, "ada"), hook(db, "ada", runs_of="*")
    with db.begin() as session:
        assert tokens.revoke(session, tokens.people(session, "ada")[0].id)
    assert why(db, adas, proxied=True) != "", "no proxy has named them"
    people.named(db, "ada")
    assert [why(db, adas, proxied=proxied) == "" for proxied in (True, False)] == [True, False]
    assert why(db, all_, proxied=True) != ""
    role(db, "ada", Scope.ADMIN)
    assert why(db, all_, proxied=True) == ""


def test_the_token_files_owner_hears_everybody_whatever_role_was_set(db: Database) -> None:
    all_ = hook(db, tokens.ADMIN, runs_of="*")
    with db.begin() as session:
        assert tokens.revoke(session, tokens.people(session, tokens.ADMIN)[0].id)
    tokens.bootstrap(db, "agon_file")
    role(db, tokens.ADMIN, Scope.VIEWER)
    assert why(db, all_) == ""


def test_one_that_is_held_says_so_and_is_not_tried(world: Any) -> None:
    made = world.client.post("/v1/tokens", json={"name": "ada"}).json()
    headers = {"Authorization": f"Bearer {made['token']}"}
    added = world.client.post("/v1/webhooks", json={"url": hooks.URL}, headers=headers).json()
    path = f"/v1/webhooks/{added['id']}"
    seen = world.client.get(path).headers["ETag"]
    assert (added["held"], world.client.get(path).json()["held"]) == ("", "")
    world.client.delete(f"/v1/tokens/{made['id']}").raise_for_status()
    shown = world.client.get(path, headers={"If-None-Match": seen})
    assert (shown.status_code, shown.json()["enabled"], "no token" in shown.json()["held"]) == (200, True, True)
    assert [item["held"] for item in world.client.get("/v1/webhooks").json()["items"]] == [shown.json()["held"]]
    for suffix, body in (("/test", None), ("/replay", {"since": datetime.now(UTC).isoformat()})):
        refused = world.client.post(path + suffix, json=body)
        assert (refused.status_code, "is held" in refused.json()["detail"]) == (409, True)


def test_of_many_that_add_one_at_once_no_more_than_may_be_do(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_OF_ONE", 3)

    def add(_: int) -> bool:
        try:
            with db.begin() as session:
                store.add(session, "ada", WebhookRequest(url=hooks.URL))
            return True
        except Conflict:
            return False

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(add, range(24))) == 3
