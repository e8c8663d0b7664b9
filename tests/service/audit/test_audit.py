"""Who changed what, and who was refused: no change without its record, no record without its change."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import select
from tickets import ticket

from service.app import create_app
from service.audit import deeds, keeping, store
from service.audit.deeds import CHANGING
from service.audit.stream import AuditHub, follow
from service.db.session import Database
from service.db.tables import AuditRecord, Job
from service.settings import Settings


def audit(world: Any, query: str = "", **headers: str) -> list[dict[str, Any]]:
    reply = world.client.get(f"/v1/audit{query}", headers=headers)
    assert reply.status_code == 200, reply.text
    return list(reply.json()["items"])


def brief(entry: dict[str, Any]) -> tuple[Any, ...]:
    return entry["owner"], entry["action"], entry["target"], entry["outcome"], entry["status"]


def person(world: Any, name: str, **more: Any) -> dict[str, str]:
    made = world.client.post("/v1/tokens", json={"name": name, **more}).json()
    return {"Authorization": f"Bearer {made['token']}"}


def test_every_route_that_changes_something_has_its_word(tmp_path: Path) -> None:
    """A new one needs a line in `service.audit.deeds`; without one it is recorded under a word made of its path."""
    app = create_app(Settings(home=tmp_path, log_level="CRITICAL"))
    routes = [route for route in app.state.routes if isinstance(route, APIRoute)]
    found = {
        f"{method} {route.path}": deeds.known(method, route.path)
        for route in routes
        for method in route.methods & CHANGING
    }
    assert len(found) > 30
    assert [route for route, deed in found.items() if deed is None] == []
    assert not set(deeds.DEEDS) - {deeds.plain(route) for route in found}, "words of routes that are gone"
    words = [deed.word for deed in found.values() if deed is not None]
    assert all(len(word) <= 40 and word.count(".") == 1 for word in words)


def test_a_route_that_nobody_named_is_recorded_all_the_same() -> None:
    route = APIRoute("/v1/widgets/{name}/turn", lambda name: None, methods=["POST"])
    deed, target = deeds.Table([route]).find("POST", "/v1/widgets/a/turn") or (None, ticket())
    assert (deed, target) == (deeds.Deed("widget.post"), "a")


@pytest.mark.databases
def test_a_change_is_recorded_with_who_made_it_what_it_was_and_where_it_came_from(world: Any) -> None:
    job = world.submit(headers={"X-Request-Id": "r-1"}, labels={"team": "vision"})
    world.client.patch(f"/v1/jobs/{job}", json={"set": {"notes": "secret words", "labels.team": "audio"}})
    world.client.post(f"/v1/jobs/{job}/pause")
    paused, edited, submitted = audit(world)
    assert brief(submitted) == ("admin", "job.submit", job, "done", 201)
    assert (submitted["request_id"], submitted["token"], submitted["role"]) == ("r-1", "bootstrap", "admin")
    assert (submitted["kind"], submitted["peer"], submitted["detail"]) == ("job", "testclient", {"fields": ["spec"]})
    assert brief(edited) == ("admin", "job.edit", job, "done", 200)
    assert edited["detail"] == {"fields": ["notes", "labels.team"]}, "names, no values"
    assert brief(paused) == ("admin", "job.pause", job, "done", 202)


@pytest.mark.databases
@pytest.mark.parametrize("which", ["record", "change"])
def test_a_change_and_its_record_are_made_both_or_neither(
    world: Any, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """One transaction: if either can't be written, nothing is."""

    def fail(*_: object) -> None:
        raise RuntimeError("no")

    if which == "record":
        monkeypatch.setattr(store, "write", fail)
    else:
        monkeypatch.setattr("service.runs.submissions._write", fail)
    reply = world.client.post("/v1/jobs", json={"recipe": "dcgan-digits"})
    assert reply.status_code == 500
    monkeypatch.undo()
    with world.db.read() as session:
        assert session.scalars(select(Job)).all() == []
    assert [brief(entry) for entry in audit(world)] == [("admin", "job.submit", "", "failed", 500)]


def test_what_was_asked_again_with_its_key_is_recorded_once(world: Any) -> None:
    for _ in range(3):
        job = world.submit(headers={"Idempotency-Key": "k"})
    assert [brief(entry) for entry in audit(world)] == [("admin", "job.submit", job, "done", 201)]


@pytest.mark.databases
def test_refusals_are_recorded_and_counted_where_they_are_alike(world: Any) -> None:
    ada = person(world, "ada")
    for _ in range(3):
        world.client.post("/v1/jobs/j-000000000000/pause")
    world.client.post("/v1/jobs", json={"recipe": "no-such"}, headers=ada)
    world.client.post("/v1/tokens", json={"name": "eve", "scope": "admin"}, headers=ada)
    job = world.submit()
    world.client.post(f"/v1/jobs/{job}/resume")
    world.client.delete(f"/v1/jobs/{job}")
    world.client.patch(f"/v1/jobs/{job}", json={"set": {"notes": "n"}}, headers={"If-Match": '"0000"'})
    found = {brief(entry): entry["count"] for entry in audit(world, "?outcome=refused")}
    assert found == {
        ("admin", "job.pause", "j-000000000000", "refused", 404): 3,
        ("ada", "job.submit", "", "refused", 422): 1,
        ("ada", "token.create", "", "refused", 403): 1,
        ("admin", "job.delete", job, "refused", 409): 1,
        ("admin", "job.edit", job, "refused", 412): 1,
    }
    world.client.post("/v1/jobs/j-000000000000/pause")
    (again,) = audit(world, "?target=j-000000000000")
    assert again["count"] == 4, "in the row that is there"


def test_a_refused_body_and_a_path_that_no_database_takes_are_recorded(world: Any) -> None:
    world.client.post("/v1/jobs", content=b"{", headers={"Content-Type": "application/json"})
    world.client.post("/v1/jobs/%00%1b/pause")
    assert [brief(entry) for entry in audit(world)] == [
        ("admin", "job.pause", "��", "refused", 422),
        ("admin", "job.submit", "", "refused", 400),
    ]


def test_a_flood_of_bad_tokens_is_one_row_a_minute(world: Any) -> None:
    for number in range(50):
        bad = {"Authorization": f"Bearer agon_{number}"}
        assert world.client.post(f"/v1/jobs/j-{number}/pause", headers=bad).status_code == 401
        assert world.client.get("/v1/jobs", headers=bad).status_code == 401
    found = audit(world, "?action=authenticate")
    assert sum(entry["count"] for entry in found) == 100
    assert len(found) <= 2, "a minute may have begun meanwhile"
    assert brief(found[0]) == ("", "authenticate", "", "refused", 401)


def test_reads_what_only_checks_and_a_drivers_reports_are_no_changes(world: Any) -> None:
    job = world.running()
    before = audit(world)
    world.tell(job, "progress")
    world.client.get(f"/v1/jobs/{job}")
    world.client.get("/v1/jobs/nope")
    world.client.post("/v1/validate", json={"recipe": "dcgan-digits"})
    world.client.post("/v1/validate", json={"recipe": "nope"})
    assert audit(world) == before
    other = world.running(name="other")
    assert world.send(job, token=world.token(other)).status_code == 403
    assert audit(world)[0]["action"] == "job.report", "a token that is used for what it is not for"


def test_no_secret_and_no_body_gets_into_it(world: Any) -> None:
    made = world.client.post("/v1/tokens", json={"name": "ada", "scope": "user", "owner": "ada"}).json()
    world.client.post("/v1/tokens", json={"name": made["token"], "owner": "x" * 2000, "scope": {"deep": "secret"}})
    world.client.post("/v1/jobs", json={"recipe": "dcgan-digits", "set": {"notes": "words", "pass word": 1}})
    (created,) = audit(world, f"?target={made['id']}")
    assert created["detail"] == {
        "fields": ["name", "scope", "owner"], "values": {"name": "ada", "owner": "ada", "scope": "user"},
    }  # fmt: skip
    text = json.dumps(audit(world))
    assert "words" not in text
    assert "secret" not in text
    assert world.client.headers["Authorization"].removeprefix("Bearer ") not in text


def test_a_change_that_no_transaction_covers_is_recorded_before_it_is_made(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed meanwhile, it is there as begun; refused, it is counted as a refusal."""
    world.registry.add("faces")
    move, seen = world.registry.set_alias, list[tuple[Any, ...]]()

    def look(*given: str) -> None:
        with world.db.read() as session:
            begun = session.scalars(select(AuditRecord).where(AuditRecord.action == "model.alias"))
            seen.extend((row.target, row.status) for row in begun)
        move(*given)

    monkeypatch.setattr(world.registry, "set_alias", look)
    assert world.client.put("/v1/models/faces/aliases/best", json={"version": "1"}).status_code == 200
    assert seen == [("faces/best", None)]
    assert [brief(entry)[1:] for entry in audit(world)] == [("model.alias", "faces/best", "done", 200)]
    world.client.post("/v1/gc", json={"dry_run": True})
    (entry, _) = audit(world)
    assert (brief(entry), entry["detail"]["values"]) == (("admin", "disk.collect", "", "done", 200), {"dry_run": True})
    world.client.put("/v1/jobs/j-000000000000/checkpoints/5/pin")
    (refused, *_) = audit(world)
    assert brief(refused) == ("admin", "checkpoint.pin", "j-000000000000/5", "refused", 404)


def test_one_who_asks_sees_what_they_did_and_an_administrator_sees_all(world: Any) -> None:
    ada, bob = person(world, "ada"), person(world, "bob")
    mine = world.client.post("/v1/jobs", json={"recipe": "dcgan-digits"}, headers=ada).json()["id"]
    world.client.post("/v1/jobs", json={"recipe": "dcgan-digits"}, headers=bob)
    assert [entry["target"] for entry in audit(world, **ada)] == [mine]
    assert [entry["target"] for entry in audit(world, "?actor=ada", **ada)] == [mine]
    assert world.client.get("/v1/audit?actor=bob", headers=ada).status_code == 403
    assert world.client.get("/v1/audit/stream?actor=bob", headers=ada).status_code == 403
    assert [entry["owner"] for entry in audit(world)] == ["bob", "ada", "admin", "admin"]


@pytest.mark.databases
def test_filters_choose_and_pages_go_on_while_more_comes(world: Any) -> None:
    job = world.submit()
    world.client.post(f"/v1/jobs/{job}/pause")
    world.client.put("/v1/owners/ada/caps", json={"running": 1})
    noon = datetime.now(UTC)
    world.client.post(f"/v1/jobs/{job}/resume")
    for query, actions in (
        ("?action=job", ["job.resume", "job.pause", "job.submit"]),
        ("?action=job.pause", ["job.pause"]),
        (f"?target={job}&outcome=done", ["job.resume", "job.pause", "job.submit"]),
        ("?target=ada", ["owner.cap"]),
        ("?action=jo", []),
        ("?token=bootstrap&actor=admin&action=owner", ["owner.cap"]),
        ("?outcome=failed", []),
    ):
        assert [entry["action"] for entry in audit(world, query)] == actions, query
    moment = noon.isoformat().replace("+00:00", "Z")
    assert [entry["action"] for entry in audit(world, f"?since={moment}")] == ["job.resume"]
    assert len(audit(world, f"?until={moment}")) == 3
    for wrong in ("?since=yesterday", "?action=Job", "?outcome=perhaps", "?cursor=x", "?limit=0"):
        assert world.client.get(f"/v1/audit{wrong}").status_code == 422, wrong
    first = world.client.get("/v1/audit?limit=3").json()
    world.submit()
    rest = world.client.get(f"/v1/audit?limit=3&cursor={first['next_cursor']}").json()
    assert [entry["action"] for entry in (*first["items"], *rest["items"])] == [
        "job.resume", "owner.cap", "job.pause", "job.submit",
    ]  # fmt: skip
    assert rest["next_cursor"] is None


@pytest.mark.databases
def test_whoever_follows_hears_each_record_once_in_its_order_and_goes_on_behind_it(world: Any) -> None:
    job = world.submit()

    async def story() -> None:
        hub = AuditHub(world.db)
        polling = asyncio.create_task(hub.run())
        stream = follow(hub, world.db, store.Wanted(action="job"), None, ticket())
        assert (await anext(stream)).data is None
        heard = []
        for verb in ("pause", "resume", "cancel"):
            await asyncio.to_thread(world.client.post, f"/v1/jobs/{job}/{verb}")
            await asyncio.to_thread(world.client.put, "/v1/owners/ada/caps", json={"running": 1})
            heard.append(await asyncio.wait_for(anext(stream), 30))
        assert [json.loads(message.data)["action"] for message in heard] == ["job.pause", "job.resume", "job.cancel"]
        again = follow(hub, world.db, store.Wanted(action="job"), int(heard[0].id), ticket())
        await anext(again)
        assert [(await asyncio.wait_for(anext(again), 30)).id for _ in range(2)] == [heard[1].id, heard[2].id]
        for each in (stream, again):
            await each.aclose()
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)

    asyncio.run(story())


@pytest.mark.databases
def test_what_is_old_is_forgotten_in_small_transactions(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BATCH", 3)
    now = datetime.now(UTC)
    with db.begin() as session:
        for days in range(20):
            store.write(session, record(time=now - timedelta(days=days)))
    assert keeping.forget_old(db, 0, now) == 0
    assert keeping.forget_old(db, 9.5, now) == 10
    monkeypatch.setattr(keeping, "BATCHES", 2)
    assert keeping.forget_old(db, 1.5, now) == 6, "the rest is for the next time"
    with db.read() as session:
        left = sorted((now - row.time).days for row in session.scalars(select(AuditRecord)))
    assert left == [0, 1, 2, 3]


def record(**values: Any) -> store.Record:
    usual = {
        "time": datetime.now(UTC), "owner": "ada", "token": "t-1", "token_name": "ada", "role": "user", "request_id": "r",
        "action": "job.pause", "kind": "job", "target": "j-1", "status": 404, "peer": "10.0.0.1",
    }  # fmt: skip
    return store.Record(**{**usual, **values})
