"""The client against a real HTTP server: errors, retries, pages and event streams that break."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from service.client import (
    ApiError,
    Changed,
    Client,
    Conflict,
    Invalid,
    JobFailed,
    NotConfigured,
    NotFound,
    Unauthenticated,
    Unavailable,
    Unreachable,
    UnreadableReply,
)
from service.client import connection as connecting
from service.stack import record as records
from service.stack.layout import Layout
from service.stack.ports import free_ports
from service.stack.record import PartRecord, StackRecord

JOB: dict[str, Any] = {
    "id": "j-1", "name": "n", "state": "running", "desired": "run", "attempt": 1, "reason": "", "failure": None,
    "spec": {"train": {"images": 100}}, "spec_digest": "d", "progress": None, "mlflow_run_id": None, "model": None,
    "trial": None, "created_at": "2026-01-01T00:00:00Z", "started_at": None, "finished_at": None,
}  # fmt: skip


def job(**changes: Any) -> dict[str, Any]:
    return JOB | changes


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    from service.client import stream

    for module in (connecting, stream):
        monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    for name in ("AGON_URL", "AGON_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def client(script: Any) -> Client:
    return Client(script.url, "secret", patience=2.0)


# -- where the API is


def test_url_and_token_come_from_the_running_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGON_HOME", str(tmp_path))
    with pytest.raises(NotConfigured, match="agon up"):
        Client()
    _local_stack(tmp_path, "http://127.0.0.1:4711")
    assert connecting.discover() == ("http://127.0.0.1:4711", "the local token")


def test_the_local_token_is_not_sent_to_another_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGON_HOME", str(tmp_path))
    _local_stack(tmp_path, "http://127.0.0.1:4711")
    with pytest.raises(NotConfigured, match="AGON_TOKEN"):
        Client("https://elsewhere.example")
    monkeypatch.setenv("AGON_URL", "https://elsewhere.example/")
    with pytest.raises(NotConfigured, match="AGON_TOKEN"):
        Client()
    monkeypatch.setenv("AGON_TOKEN", "theirs")
    assert connecting.discover() == ("https://elsewhere.example", "theirs")


@pytest.mark.parametrize("url", ["http://[x", "127.0.0.1:8700", "http://", "ftp://host", "http://host:99999"])
def test_an_address_that_is_no_url_is_said_to_be_none(url: str) -> None:
    with pytest.raises(NotConfigured, match="is no http:// or https:// URL; set AGON_URL"):
        Client(url, "token")


def test_a_redirect_does_not_carry_the_token_away(script: Any, client: Client) -> None:
    script.then("", 307, headers={"location": "http://127.0.0.1:1/steal"})
    with pytest.raises(UnreadableReply):
        client.job("j-1")


def _local_stack(home: Path, url: str) -> None:
    layout = Layout(home)
    part = PartRecord(pid=1, create_time=1.0, url=url, log="")
    fields: dict[str, Any] = {"stack_id": "i", "started_at": "2026-01-01T00:00:00Z", "host": "h", "cpus": None}
    records.write(layout.record, StackRecord(**fields, ports={"api": 4711}, parts={"api": part}))
    layout.token.write_text("the local token\n")


# -- calls and errors


def test_every_call_carries_the_token(script: Any, client: Client) -> None:
    script.then(job())
    assert client.job("j-1").state == "running"
    assert script.seen[0].headers["authorization"] == "Bearer secret"


def test_a_slash_in_a_name_reaches_no_other_resource(script: Any, client: Client) -> None:
    script.then(job())
    client.job("../tokens?x=")
    assert script.seen[0].path == "/v1/jobs/..%2Ftokens%3Fx%3D"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Unauthenticated), (404, NotFound), (409, Conflict), (412, Changed), (503, Unavailable), (418, ApiError)],
)
def test_a_problem_becomes_the_exception_of_its_status(
    script: Any, client: Client, status: int, kind: type[ApiError]
) -> None:
    script.problem(status, "what was wrong")
    with pytest.raises(kind, match="what was wrong") as caught:
        client.job("j-1")
    assert (caught.value.status, caught.value.request_id) == (status, "r1")


def test_wrong_fields_arrive_with_path_value_and_fix(script: Any, client: Client) -> None:
    fault = {"path": "train.batch", "message": "is odd", "value": "7", "fix": "use 8"}
    script.problem(422, "invalid", [fault])
    with pytest.raises(Invalid) as caught:
        client.submit(recipe="r")
    assert [error.model_dump() for error in caught.value.errors] == [fault]


def test_another_program_on_the_port_is_recognised(script: Any, client: Client) -> None:
    script.then("<html>Grafana</html>", 404, content_type="text/html")
    with pytest.raises(UnreadableReply, match="not as Agon does"):
        client.job("j-1")


def test_an_answer_of_another_version_is_explained(script: Any, client: Client) -> None:
    script.then({"id": "j-1"})
    with pytest.raises(UnreadableReply, match="differ in version"):
        client.job("j-1")


def test_a_field_that_a_newer_server_adds_is_kept(script: Any, client: Client) -> None:
    script.then(job(priority=3))
    assert client.job("j-1").model_dump()["priority"] == 3


def test_what_a_newer_server_says_of_a_known_field_is_read_too(script: Any, client: Client) -> None:
    script.then(job(state="dreaming", failure={"kind": "tired", "reason": "late", "hint": "sleep"}))
    found = client.job("j-1")
    assert (found.state, found.ended, found.failure and found.failure.kind) == ("dreaming", False, "tired")
    assert found.model_dump(mode="json")["failure"] == {
        "kind": "tired",
        "reason": "late",
        "rank": None,
        "hint": "sleep",
    }
    result = {"step": 1, "images": 64, "value": 1.0, "score": 1.0, "spread": 0.0, "seconds": 1.0}
    trial = {
        "id": "t-00001", "number": 1, "state": "napping", "values": {}, "first_values": {}, "reason": "",
        "results": [{**result, "mood": "fine"}], "clones": [], "images": 64, "seconds": 1.0, "score": 1.0, "spread": 0.0,
        "stop": False,
    }  # fmt: skip
    script.answers[-1].body = {"items": [trial], "next_cursor": None}
    (shown,) = client.trials("s-1").items
    assert (shown.state, shown.results[0].score) == ("napping", 1.0)


def test_pages_are_followed_to_the_end_with_the_filters(script: Any, client: Client) -> None:
    script.then({"items": [job(id="a"), job(id="b")], "next_cursor": "c1"}).then(
        {"items": [job(id="c")], "next_cursor": None}
    )
    assert [found.id for found in client.every_job(state="running")] == ["a", "b", "c"]
    assert [seen.path for seen in script.seen] == ["/v1/jobs?state=running", "/v1/jobs?state=running&cursor=c1"]


def test_a_spec_and_a_recipe_are_not_both_submitted(client: Client) -> None:
    with pytest.raises(TypeError):
        client.submit({"a": 1}, recipe="r")
    with pytest.raises(TypeError):
        client.submit()
    with pytest.raises(TypeError):
        client.submit({"a": 1}, set={"b": 2})


# -- trying again


def test_a_submission_that_is_tried_again_carries_the_same_key(script: Any, client: Client) -> None:
    script.then("bad gateway", 502, content_type="text/html").then(job(), 201)
    client.submit(recipe="r", set={"train.batch": 8})
    first, second = script.seen
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] != ""
    assert second.body == {"recipe": "r", "set": {"train.batch": 8}}
    client.submit(recipe="r")
    assert script.seen[2].headers["idempotency-key"] != first.headers["idempotency-key"]


def test_whatever_is_asked_to_change_carries_a_key_and_is_tried_again(script: Any, client: Client) -> None:
    script.then("bad gateway", 502, content_type="text/html").problem(409, "under way", **{"Retry-After": "1"})
    script.then(job(state="cancelled"), 202)
    assert client.cancel("j-1").state == "cancelled"
    keys = [seen.headers["idempotency-key"] for seen in script.seen]
    assert (len(keys), len(set(keys))) == (3, 1)
    script.answers[:] = []
    script.problem(409, "it has ended")
    with pytest.raises(Conflict):
        client.cancel("j-1")
    assert script.seen[3].headers["idempotency-key"] not in keys


@pytest.mark.parametrize("after", ["30", "3600", "", "Mon, 30 Nov 2026 11:00:00 GMT"])
def test_what_is_away_for_longer_is_told_at_once(script: Any, client: Client, after: str) -> None:
    script.problem(503, "away", **{"Retry-After": after})
    with pytest.raises(Unavailable):
        client.models()
    assert len(script.seen) == 1


def test_a_busy_database_is_waited_for_and_an_absent_part_is_not(script: Any, client: Client) -> None:
    script.problem(503, "busy", **{"Retry-After": "1"}).then(job())
    assert client.job("j-1").id == "j-1"
    script.answers[:] = []
    script.problem(503, "no MLflow is configured")
    before = len(script.seen)
    with pytest.raises(Unavailable):
        client.models()
    assert len(script.seen) == before + 1


def test_nobody_there_is_unreachable_and_says_what_to_do() -> None:
    client = Client(f"http://127.0.0.1:{free_ports(1)[0]}", "t", patience=0.1)
    with pytest.raises(Unreachable, match="agon up"):
        client.jobs()


def test_calls_wait_while_the_api_restarts() -> None:
    port = free_ports(1)[0]
    client = Client(f"http://127.0.0.1:{port}", "t", patience=20.0)
    started: list[ThreadingHTTPServer] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"the log")

        def log_message(self, *_: object) -> None:
            pass

    def later() -> None:
        time.sleep(0.5)
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        started.append(server)
        server.serve_forever(poll_interval=0.02)

    thread = threading.Thread(target=later)
    thread.start()
    try:
        assert client.logs("j-1") == "the log"
    finally:
        started[0].shutdown()
        started[0].server_close()
        thread.join()


# -- events


def state(name: str) -> tuple[str, str, dict[str, Any]]:
    return ("", "state", {"state": name, "attempt": 1, "reason": ""})


def wire(seq: int, kind: str = "progress", **data: Any) -> tuple[str, str, dict[str, Any]]:
    body = {
        "seq": seq,
        "attempt": 1,
        "time": "2026-01-01T00:00:00Z",
        "kind": kind,
        "step": seq,
        "images": 8 * seq,
        "data": data,
    }
    return (str(seq), kind, body)


def test_events_go_on_behind_the_last_one_after_the_connection_broke(script: Any, client: Client) -> None:
    script.stream(state("running"), wire(1), wire(2), cut=True)
    script.then("bad gateway", 502, content_type="text/html")
    script.stream(state("running"), wire(3), state("succeeded"))
    seen = list(client.events("j-1"))
    assert [event.step for event in seen if event.kind == "progress"] == [1, 2, 3]
    assert seen[-1].data["state"] == "succeeded"
    assert [request.headers.get("last-event-id") for request in script.seen] == [None, "2", "2"]


def test_a_ping_is_no_event(script: Any, client: Client) -> None:
    text = 'id: 1\nevent: progress\ndata: {"kind": "progress", "data": {}}\n\n: ping\n\nevent: state\ndata: {"state": "failed"}\n\n'
    script.then(text, content_type="text/event-stream")
    assert [event.kind for event in client.events("j-1")] == ["progress", "state"]


def test_following_can_begin_behind_an_event(script: Any, client: Client) -> None:
    script.stream(state("failed"))
    list(client.events("j-1", after="17"))
    assert script.seen[0].headers["last-event-id"] == "17"


def test_a_stream_that_ends_cleanly_though_the_job_runs_is_opened_again(script: Any, client: Client) -> None:
    script.stream(wire(1)).stream(wire(2), state("cancelled"))
    assert [event.id for event in client.events("j-1")] == ["1", "2", "2"]


def test_a_stream_without_news_of_an_ended_job_ends(script: Any, client: Client) -> None:
    script.stream().then(job(state="succeeded"))
    assert list(client.events("j-1")) == []


def test_a_refusal_ends_the_stream_at_once(script: Any, client: Client) -> None:
    script.problem(404, "no job j-1")
    with pytest.raises(NotFound):
        list(client.events("j-1"))
    assert len(script.seen) == 1


def test_a_stream_gives_up_when_the_api_stays_away() -> None:
    client = Client(f"http://127.0.0.1:{free_ports(1)[0]}", "t", patience=0.2)
    with pytest.raises(Unreachable):
        list(client.events("j-1"))


def test_wait_returns_the_job_as_it_ended_and_can_raise(script: Any, client: Client) -> None:
    script.stream(wire(1), state("failed")).then(
        job(state="failed", failure={"kind": "bad-data", "reason": "shard 3 is missing"})
    )
    seen: list[str] = []
    assert client.wait("j-1", on_event=lambda event: seen.append(event.kind)).state == "failed"
    assert seen == ["progress", "state"]
    script.answers[:0] = []
    script.answers.insert(0, script.answers[0])
    script.answers[0] = type(script.answers[1])(200, 'event: state\ndata: {"state": "failed"}\n\n', "text/event-stream")
    with pytest.raises(JobFailed, match="shard 3 is missing"):
        client.wait("j-1", check=True)
