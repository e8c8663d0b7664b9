"""What a request to follow all runs asks for is what it hears."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

import pytest
import rows
from httpx_sse import connect_sse
from sse_starlette import EventSourceResponse

from service.db.session import Database
from service.events import routes
from service.runs import ingest, marks, store, tape
from trainer.wire import WireEvent

EVENT = {"seq": 1, "attempt": 1, "time": "2026-01-01T00:00:00Z", "kind": "progress", "step": 1, "images": 64}


@pytest.fixture
def chosen(world: Any) -> str:
    """The id of a job that tells last; others told before, each of which lacks something that it has."""
    mine, vision = {"owner": "ada", "labels": {"team": "vision"}}, {"labels": {"team": "vision"}}
    for kind, values in (("search", mine), ("job", {**vision, "owner": "bob"}), ("job", {"owner": "ada"})):
        say(world.db, run(world.db, kind, **values), "another's")
    job = run(world.db, "job", **mine)
    with world.db.begin() as session:
        ingest.take(session, store.get(session, job, None, lock=True), [WireEvent.model_validate(EVENT)])
    say(world.db, job, "the last")
    return job


def run(db: Database, kind: str, *, labels: dict[str, str] | None = None, **values: Any) -> str:
    """A run with these labels; its id."""
    id_ = rows.run(db, kind, spec={**rows.spec(kind), "labels": labels or {}}, **values)
    with db.begin() as session:
        marks.write_labels(session, store.get(session, id_, None, lock=True))
    return id_


def say(db: Database, id_: str, reason: str) -> None:
    with db.begin() as session:
        store.note(session, store.get(session, id_, None, lock=True), reason)


def heard(world: Any, query: str) -> list[dict[str, Any]]:
    """From the beginning up to the last."""
    found: list[dict[str, Any]] = []
    with connect_sse(world.client, "GET", f"/v1/events?{query}", headers={"Last-Event-ID": "0"}) as source:
        assert source.response.headers["cache-control"] == "no-store"
        for message in source.iter_sse():
            if message.data:
                found.append(json.loads(message.data))
            if found and found[-1].get("reason") == "the last":
                return found
    raise AssertionError("it has no end")


@pytest.mark.parametrize(
    ("query", "hears"),
    [
        ("", lambda told: True),
        ("kind=job", lambda told: told["run"]["kind"] == "job"),
        ("owner=ada", lambda told: told["run"]["owner"] == "ada"),
        ("label=team%3Dvision", lambda told: told["run"]["id"] in told["labelled"]),
        ("states=true", lambda told: "state" in told),
        ("run=CHOSEN", lambda told: told["run"]["id"] == told["chosen"]),
    ],
)
def test_of_all_that_is_told_one_hears_what_one_asked_for(world: Any, chosen: str, query: str, hears: Any) -> None:
    with world.db.read() as session:
        every = tape.read(session, tape.BEGIN, 100).told if tape.place(world.db) else ()
    labelled = {one.run for one in every if one.labels}
    assert len(every) == 5
    told = [
        {"run": {"id": one.run, "kind": one.kind, "name": one.name, "owner": one.owner}, **one.data} for one in every
    ]
    wanted = [one for one in told if hears({**one, "labelled": labelled, "chosen": chosen})]
    assert heard(world, query.replace("CHOSEN", chosen)) == wanted
    assert 0 < len(wanted) < len(told) or not query


def test_without_an_id_one_hears_what_comes_and_with_one_what_lies_behind_it(world: Any, chosen: str) -> None:
    """The newest id is behind nothing, and yet one that was given."""
    tape.place(world.db)
    with world.db.read() as session:
        end = str(tape.end(session))
    for headers in ({}, {"Last-Event-ID": end}):
        with world.client.stream("GET", "/v1/events", headers=headers) as reply:
            assert next(line for line in reply.iter_lines() if line.startswith("id")) == f"id: {end}"


def test_an_id_of_what_was_told_in_this_moment_is_known(world: Any, chosen: str) -> None:
    """Also where nobody has given places yet."""
    with world.db.read() as session:
        told = tape.end(session).place + 1
    with world.client.stream("GET", "/v1/events", headers={"Last-Event-ID": str(told)}) as reply:
        assert reply.status_code == 200


def test_an_id_ahead_of_all_that_was_told_is_refused_with_what_to_send(world: Any, chosen: str) -> None:
    reply = world.client.get("/v1/events", headers={"Last-Event-ID": "999999999"})
    assert reply.status_code == 422
    (error,) = reply.json()["errors"]
    assert (error["message"], "send 0" in error["fix"]) == ("lies ahead of all that was told", True)


def test_a_stream_says_now_and_then_where_one_is_and_one_who_takes_nothing_is_gone(
    world: Any, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(routes, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(
        routes,
        "EventSourceResponse",
        lambda *given, **more: made.append(EventSourceResponse(*given, **more)) or made[-1],
    )
    with world.client.stream("GET", "/v1/events?owner=nobody") as reply:
        ids = [line for line in islice(reply.iter_lines(), 8) if line.startswith("id")]
    assert len(ids) > 2
    assert len(set(ids)) == 1
    assert (made[0].ping_interval, made[0].send_timeout) == (0.05, routes.SEND_SECONDS)
