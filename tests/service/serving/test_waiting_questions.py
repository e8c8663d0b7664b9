"""A question waits for a replica, and if none comes hears why; what is cut off is asked once more; whoever goes is not computed for."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import uvicorn
from askers import House, refuses, tells

from service.db.times import time_in
from service.gateway.ray_jobs import Node
from service.gateway.ray_serve import Answer, CutError, LateError
from service.runs import served
from service.serving import asker, places
from trainer.serve.wire import PLANS, Reason

pytestmark = pytest.mark.databases


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asker, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(places, "FRESH_SECONDS", 0.01)


class Beside:
    """Reconciles beside the test, as long as it lasts."""

    def __init__(self, house: House) -> None:
        self.house, self.stopping = house, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        while not self.stopping.wait(0.05):
            self.house.round()

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.thread.join()


def test_the_first_question_gets_a_replica_started_and_waits_for_it(build: Any) -> None:
    house = build(serve_start_seconds=30)
    with Beside(house):
        reply = house.ask()
    assert reply.status_code == 200, reply.text
    assert reply.json()["path"] == "/models/generate"
    assert house.place().token in str(house.serve.asked[-1][2])


def test_where_there_is_no_room_the_reason_is_told_with_a_time(house: House) -> None:
    house.ray.cluster = [Node("n", 2, 0)]
    assert house.ask().status_code == 503
    house.round()
    reply = house.ask()
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "5")
    assert "needs 1 CPU; 0 of 2 CPUs free" in reply.json()["detail"]
    assert reply.json()["detail"].startswith("there is no place on the cluster for what answers questions to models: ")
    shown = house.client.get("/v1/serve").json()
    assert shown["applications"][0] | {"asked_at": None} == {
        "name": "models", "state": "waiting", "reason": "needs 1 CPU; 0 of 2 CPUs free", "replicas": 0, "most_replicas": 1,
        "cpus": 0.0, "gpus": 0.0, "asked_at": None, "granted_at": None,
    }  # fmt: skip


def test_where_no_reconciler_runs_that_is_told(house: House) -> None:
    assert "no reconciler has looked yet" in house.ask().json()["detail"]


def test_a_replica_that_is_not_there_in_time_is_told_with_how_far_it_is(house: House) -> None:
    house.ready(phase="starting", running=0, coming=1)

    async def never(*_: Any) -> Answer:
        await asyncio.sleep(60)
        raise AssertionError

    house.serve.answer = never
    reply = house.ask()
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "5")
    assert "1 of 1 starts" in reply.json()["detail"]
    assert house.serve.cancelled == 1
    assert house.client.get("/v1/serve").json()["applications"][0]["state"] == "starting"


def test_what_serve_cant_run_is_told_at_once(build: Any) -> None:
    house = build(serve_start_seconds=60)
    house.serve.fail = "Traceback\nImportError: no module named trainer"
    with Beside(house):
        reply = house.ask()
        again = house.ask()
    for each in (reply, again):
        assert each.status_code == 503
        assert "no module named trainer" in each.json()["detail"]
        assert 1 <= int(each.headers["Retry-After"]) <= 30
    assert house.client.get("/v1/serve").json()["applications"][0]["state"] == "failed"


def test_while_ray_is_away_that_is_the_reason(house: House) -> None:
    house.ray.unreachable = True
    house.ask()
    house.round()
    assert "Ray at http://fake can't be reached" in house.ask().json()["detail"]


def test_a_proxy_that_does_not_know_the_application_yet_is_asked_again(build: Any) -> None:
    house = build(serve_start_seconds=30)
    house.ready()
    known = house.serve.applications["models"]
    house.serve.applications["models"] = replace(known, status="DEPLOYING")

    def later() -> None:
        while len(house.serve.asked) < 3:
            time.sleep(0.01)
        house.serve.settle()

    thread = threading.Thread(target=later)
    thread.start()
    reply = house.ask()
    thread.join()
    assert reply.status_code == 200
    assert len(house.serve.asked) >= 4


def failing(*outcomes: Any) -> Callable[..., Any]:
    """Answers with these one after the other, then as it should."""
    left = list(outcomes)

    async def answer(*args: Any) -> Answer:
        if not left:
            return await tells(*args)
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    return answer


DIED = Answer(500, b"The actor died unexpectedly", {"content-type": "text/plain"})
CUT = CutError("Ray Serve's proxy ended the connection")
STRANGER = refuses(Reason.STRANGER)


@pytest.mark.parametrize(
    "outcome", [DIED, CUT, STRANGER, Answer(503, b"unavailable")], ids=["died", "cut", "stranger", "503"]
)
def test_what_was_cut_off_is_asked_once_more_and_then_given_up(house: House, outcome: Any) -> None:
    house.ready()
    house.serve.answer = failing(outcome)
    assert house.ask().status_code == 200
    assert len(house.serve.asked) == 2
    house.serve.answer = failing(outcome, outcome)
    reply = house.ask()
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "2")
    assert len(house.serve.asked) == 4
    assert reply.json()["type"] == "urn:agon:problem:unavailable"


def test_a_token_that_changed_is_read_again(house: House) -> None:
    house.ready()
    assert house.ask().status_code == 200
    with house.db.begin() as session:
        assert served.change(session, house.place(), token="another")

    async def knows(path: str, body: bytes, headers: Any) -> Answer:
        return await tells(path, body, headers) if headers["authorization"] == "Bearer another" else STRANGER

    house.serve.answer = knows
    assert house.ask().status_code == 200


def test_an_answer_that_takes_too_long_is_late(house: House) -> None:
    house.ready()
    house.serve.answer = failing(LateError("no answer within 105 s"))
    reply = house.ask()
    assert reply.status_code == 504
    assert len(house.serve.asked) == 1, "it would be late again"


def test_that_it_is_asked_is_written_now_and_then(house: House) -> None:
    house.ready()
    with house.db.begin() as session:
        assert served.change(session, house.place(), asked_at=time_in(session) - timedelta(hours=1))
    house.ask()
    first = house.place().asked_at
    with house.db.read() as session:
        assert first is not None
        assert time_in(session) - first < timedelta(seconds=60)
    house.ask()
    assert house.place().asked_at == first, "not for each question"


def test_switched_off_nobody_is_asked(build: Any) -> None:
    house = build(serve=False)
    house.ready()
    reply = house.ask()
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "3600")
    assert "AGON_SERVE" in reply.json()["detail"]
    assert house.serve.asked == []
    assert house.client.get("/v1/serve").json()["enabled"] is False


def test_stop_is_a_wish_that_the_reconciler_fulfils(house: House) -> None:
    house.ready()
    reply = house.client.delete("/v1/serve")
    assert reply.status_code == 202
    assert house.place().stop
    house.round(2)
    assert not house.serve.there
    assert house.place().asked_at is None
    states = {item["name"]: item["state"] for item in house.client.get("/v1/serve").json()["applications"]}
    assert states == {"models": "off", PLANS: "off"}


# -- crowds and clients that go


class Server:
    """The API on a real port."""

    def __init__(self, house: House) -> None:
        self.config = uvicorn.Config(house.app, port=0, log_level="critical", lifespan="off")
        self.server = uvicorn.Server(self.config)
        self.thread = threading.Thread(target=self.server.run)
        self.token = house.client.headers["Authorization"]

    def __enter__(self) -> Server:
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join()

    def ask(self, seconds: float = 30.0) -> http.client.HTTPConnection:
        """A question under way."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        headers = {"Authorization": self.token, "Content-Type": "application/json", "Host": "testserver"}
        connection.request("POST", "/v1/models/demo/generate", b"{}", headers)
        return connection


def until(check: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not check():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_whoever_hangs_up_is_not_computed_for(house: House) -> None:
    house.ready()

    async def slow(*_: Any) -> Answer:
        await asyncio.sleep(60)
        raise AssertionError

    house.serve.answer = slow
    with Server(house) as server:
        connection = server.ask()
        until(lambda: len(house.serve.asked) == 1)
        connection.close()
        until(lambda: house.serve.cancelled == 1)


def test_a_crowd_is_told_when_to_come_again_and_one_caller_leaves_room_for_others(build: Any) -> None:
    house = build(serve_waiting=8)
    house.ready()
    gate: list[asyncio.Event] = []

    async def waits(*args: Any) -> Answer:
        event = asyncio.Event()
        gate.append(event)
        await event.wait()
        return await tells(*args)

    house.serve.answer = waits
    with Server(house) as server:
        mine = [server.ask() for _ in range(2)]
        until(lambda: len(gate) == 2)
        refused = server.ask().getresponse()
        assert (refused.status, refused.getheader("Retry-After")) == (429, "1")
        assert "2 of your questions are under way" in json.loads(refused.read())["detail"]
        loop = gate[0]._loop  # type: ignore[attr-defined]
        for event in gate:
            loop.call_soon_threadsafe(event.set)
        assert [connection.getresponse().status for connection in mine] == [200, 200]
        house.serve.answer = tells
        assert server.ask().getresponse().status == 200, "its place is free again"


def test_who_waits_for_a_place_and_hangs_up_waits_no_more(build: Any) -> None:
    house = build(serve_start_seconds=60, serve_waiting=4)
    with Server(house) as server:
        connection = server.ask()
        until(lambda: house.place().asked_at is not None)
        connection.close()
        until(lambda: house.app.state.context.of(asker.Asker)._crowd._here.total() == 0)


def test_what_prometheus_hears_of_questions(house: House) -> None:
    def counts() -> dict[str, float]:
        lines = house.client.get("/metrics").text.splitlines()
        found = [line.rsplit(" ", 1) for line in lines if line.startswith("agon_serve_question_seconds_count")]
        return {name: float(value) for name, value in found}

    house.ready(replicas=3)
    before = counts()
    assert 'agon_serve_replicas{application="models"} 3.0' in house.client.get("/metrics").text
    tag = house.ask().headers["ETag"]
    house.ask(headers={"If-None-Match": tag})
    house.ask(params={"version": "99"})
    gained = {name: value - before.get(name, 0.0) for name, value in counts().items() if value != before.get(name, 0.0)}
    assert gained == {
        f'agon_serve_question_seconds_count{{kind="generate",outcome="{outcome}"}}': 1.0
        for outcome in ("answered", "unchanged", "refused")
    }


def test_a_question_right_after_a_stop_is_written_at_once(build: Any) -> None:
    house = build(serve_start_seconds=0.05)
    house.ready()
    assert house.ask().status_code == 200
    before = house.place().asked_at
    assert house.client.delete("/v1/serve").status_code == 202
    house.ask()
    assert house.place().asked_at > before, "or it would wait for the next time that a question is written"
