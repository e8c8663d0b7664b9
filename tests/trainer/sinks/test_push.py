"""Pushing events: everything arrives in order, once in the receiver's books, whatever the receiver does meanwhile."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from trainer.families.table import recipes
from trainer.sinks import forward
from trainer.sinks.push import Pusher
from trainer.sinks.spool import Spool, read_cursor, write_cursor
from trainer.wire import EventBatch, EventKind, JobFile


class Receiver:
    """A control plane as the wire format describes it: stores what continues its books, acknowledges, says a wish."""

    def __init__(self) -> None:
        self.stored: list[int] = []
        self.tokens: set[str | None] = set()
        self.desired = "run"
        self.mishap: Callable[[], str | int | None] = lambda: None
        self.posts = self.questions = 0
        self.problem = "application/problem+json"
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.posts += 1
                receiver.tokens.add(self.headers["Authorization"])
                trouble = receiver.mishap()
                if trouble == "drop":
                    self.close_connection = True
                    return
                if isinstance(trouble, int):
                    self._answer(trouble, {}, receiver.problem)
                    return
                assert self.path == "/v1/jobs/j1/events"
                for event in EventBatch.model_validate_json(body).events:
                    if event.seq == len(receiver.stored) + 1:
                        receiver.stored.append(event.seq)
                if trouble == "lose-answer":
                    self.close_connection = True
                    return
                self._answer(200, {"acked": len(receiver.stored), "desired": receiver.desired})

            def do_GET(self) -> None:
                receiver.questions += 1
                assert self.path == "/v1/jobs/j1/desired"
                self._answer(200, {"acked": len(receiver.stored), "desired": receiver.desired})

            def _answer(self, status: int, body: object, kind: str = "application/json") -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "FIRST_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(forward, "LAST_RETRY_SECONDS", 0.1)
    monkeypatch.setattr(Pusher, "pace_seconds", 0.02)
    monkeypatch.setattr("trainer.sinks.push.ASK_SECONDS", 0.1)


def job(folder: Path, url: str) -> JobFile:
    spec = recipes()["gan-digits"]()
    return JobFile(
        job_id="j1", attempt=1, spec=spec, job_dir=str(folder), cache_dir=str(folder), api_url=url, token="secret"
    )


def wait(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, f"no {what}"
        time.sleep(0.01)


@pytest.mark.parametrize("seed", range(4))
def test_everything_arrives_once_though_requests_and_answers_get_lost(
    receiver: Receiver, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    receiver.mishap = lambda: chance.choice([None, None, "drop", "lose-answer", 500, 503, 429])
    spool = Spool(tmp_path)
    count = 0
    for _ in range(4):  # restarts of the sender
        pusher = Pusher(spool, job(tmp_path, receiver.url))
        pusher.batch = chance.randint(1, 9)
        pusher.start()
        for _ in range(30):
            count += 1
            spool.append(1, EventKind.WARNING, step=count)
            time.sleep(chance.choice([0, 0, 0.005]))
        pusher.close(chance.choice([0.0, 0.1]))
    receiver.mishap = lambda: None
    last = Pusher(spool, job(tmp_path, receiver.url))
    last.start()
    assert last.close(20)
    assert receiver.stored == list(range(1, count + 1))
    assert read_cursor(tmp_path / "events.acked") == count
    assert receiver.tokens == {"Bearer secret"}
    spool.close()


def test_an_outage_holds_nobody_and_is_made_up_for(receiver: Receiver, tmp_path: Path) -> None:
    receiver.mishap = lambda: 503
    spool = Spool(tmp_path)
    pusher = Pusher(spool, job(tmp_path, receiver.url))
    pusher.start()
    for step in range(500):
        spool.append(1, EventKind.WARNING, step=step)
    wait(lambda: not pusher.complaints.empty(), "complaint")
    assert "is away" in pusher.complaints.get_nowait()
    assert receiver.stored == []
    receiver.mishap = lambda: None
    wait(lambda: len(receiver.stored) == 500, "events")
    assert pusher.complaints.empty()
    assert pusher.close(5)
    spool.close()


def test_a_receiver_that_forgot_gets_the_events_again(receiver: Receiver, tmp_path: Path) -> None:
    """A control plane restored from a backup acknowledges less than before."""
    spool = Spool(tmp_path)
    pusher = Pusher(spool, job(tmp_path, receiver.url))
    pusher.start()
    for step in range(10):
        spool.append(1, EventKind.WARNING, step=step)
    wait(lambda: len(receiver.stored) == 10, "events")
    del receiver.stored[4:]
    spool.append(1, EventKind.WARNING)
    wait(lambda: receiver.stored == list(range(1, 12)), "the forgotten events")
    pusher.close(5)
    spool.close()


def test_the_wish_to_stop_arrives_though_there_is_nothing_to_report(receiver: Receiver, tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    pusher = Pusher(spool, job(tmp_path, receiver.url))
    pusher.start()
    wait(lambda: receiver.questions > 0, "question")
    assert pusher.desired == "run"
    receiver.desired = "stop"
    wait(lambda: pusher.desired == "stop", "wish to stop")
    pusher.close(1)
    spool.close()


@pytest.mark.parametrize("status", [401, 404, 410])
def test_a_refusal_ends_the_attempts_and_is_said_once(receiver: Receiver, tmp_path: Path, status: int) -> None:
    receiver.mishap = lambda: status
    spool = Spool(tmp_path)
    pusher = Pusher(spool, job(tmp_path, receiver.url))
    pusher.start()
    spool.append(1, EventKind.WARNING)
    wait(lambda: pusher.refused, "end")
    spool.append(1, EventKind.WARNING)
    assert not pusher.close(1)
    assert receiver.posts == 1
    assert str(status) in pusher.complaints.get_nowait()
    assert pusher.complaints.empty()
    spool.close()


def test_a_proxys_refusal_is_no_refusal(receiver: Receiver, tmp_path: Path) -> None:
    """While the API is being replaced, what stands before it says 404."""
    receiver.problem = "text/html"
    receiver.mishap = lambda: 404 if receiver.posts < 3 else None
    spool = Spool(tmp_path)
    pusher = Pusher(spool, job(tmp_path, receiver.url))
    spool.append(1, EventKind.WARNING)
    pusher.start()
    wait(lambda: receiver.stored == [1], "the event")
    pusher.close(1)
    spool.close()


def test_a_full_disk_does_not_end_the_delivery(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = iter([True, True, True])

    def write(path: Path, acked: int) -> None:
        if next(full, False):
            raise OSError(28, "No space left on device")
        write_cursor(path, acked)

    monkeypatch.setattr(forward, "write_cursor", write)
    spool = Spool(tmp_path)
    pusher = Pusher(spool, job(tmp_path, receiver.url))
    spool.append(1, EventKind.WARNING)
    pusher.start()
    wait(lambda: read_cursor(tmp_path / "events.acked") == 1, "the cursor")
    assert receiver.stored == [1]
    pusher.close(1)
    spool.close()


def test_closing_waits_no_longer_than_it_was_told(receiver: Receiver, tmp_path: Path) -> None:
    receiver.close()
    spool = Spool(tmp_path)
    spool.append(1, EventKind.WARNING)
    pusher = Pusher(spool, job(tmp_path, receiver.url))
    pusher.start()
    assert not pusher.close(0.3)
    assert read_cursor(tmp_path / "events.acked") == 0
    spool.close()
