"""Real processes: a reconciler killed by SIGKILL inside a submission, and two API processes on one database."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse

from service.access.tokens import read_or_create
from service.settings import Settings

pytestmark = [pytest.mark.system, pytest.mark.databases]
SPEC = {
    "arch": {"family": "dcgan", "resolution": 16, "channels": 1},
    "optimizers": {"G": {"kind": "adam"}, "D": {"kind": "adam"}},
}


class RayServer:
    """Ray's dashboard as the gateway uses it, over real HTTP; `hold` keeps the answer to a submission back."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.started: list[str] = []
        self.hold = threading.Event()
        self.held = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.split("?")[0].removeprefix("/api/jobs/")
                if self.path.startswith("/api/v0/nodes"):
                    node = {"node_id": "n", "state": "ALIVE", "resources_total": {"CPU": 4.0}}
                    self.answer({"data": {"result": {"result": [node]}}})
                elif self.path.startswith("/api/cluster_status"):
                    self.answer({"data": {"clusterStatus": None}})
                elif self.path.startswith("/nodes"):
                    self.answer({"data": {"nodeLogicalResources": {"n": "0.0/4.0 CPU"}}})
                elif name in outer.jobs:
                    self.answer(outer.jobs[name])
                else:
                    self.answer({}, 404)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or "{}")
                name = body.get("submission_id", "")
                if name in outer.jobs:
                    self.answer({"error": "already exists"}, 500)
                    return
                outer.jobs[name] = {"type": "SUBMISSION", "submission_id": name, "status": "RUNNING"}
                outer.started.append(name)
                if outer.hold.is_set():
                    outer.held.set()
                    time.sleep(5)
                self.answer({"submission_id": name})

            def answer(self, body: dict[str, Any], status: int = 200) -> None:
                try:
                    self.send_response(status)
                    self.end_headers()
                    self.wfile.write(json.dumps(body).encode())
                except OSError:
                    return  # the caller was killed

            def log_message(self, *_args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def ray_server() -> Iterator[RayServer]:
    server = RayServer()
    yield server
    server.server.shutdown()
    server.server.server_close()


@contextmanager
def process(
    settings: Settings, ray_url: str, *command: str, reconciler: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process with the settings in its environment; killed at the end."""
    env = {
        **os.environ, "AGON_HOME": str(settings.home), "AGON_DATABASE_URL": settings.database_url, "AGON_RAY_ADDRESS": ray_url,
        "AGON_LEASE_SECONDS": "2", "AGON_POLL_SECONDS": "0.1", "AGON_RECONCILER": str(reconciler),
    }  # fmt: skip
    with (settings.home / "out").open("ab") as out:
        running = subprocess.Popen([sys.executable, "-m", *command], env=env, stdout=out, stderr=out)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


@contextmanager
def api(settings: Settings, ray_url: str, *, reconciler: bool = False) -> Iterator[httpx.Client]:
    """A real API process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = (
        "uvicorn",
        "service.app:create_app",
        "--factory",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--log-level",
        "warning",
    )
    token = read_or_create(settings.token_file)
    with (
        process(settings, ray_url, *command, reconciler=reconciler),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client,
    ):
        client.headers["Authorization"] = f"Bearer {token}"
        until(lambda: client.get("/healthz").is_success, settings.home / "out")
        yield client


def until(check: Callable[[], object], log: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if check():
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    pytest.fail(f"did not happen in {seconds} s; the processes said: {log.read_text()[-3000:]}")


@pytest.mark.long
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_reconciler_killed_inside_a_submission_is_followed_by_one_that_starts_no_second_driver(
    settings: Settings, ray_server: RayServer
) -> None:
    log = settings.home / "out"
    ray_server.hold.set()
    with api(settings, ray_server.url) as client:
        job = client.post("/v1/jobs", json={"spec": SPEC}).json()["id"]
        with process(settings, ray_server.url, "service.reconciler") as first:
            assert ray_server.held.wait(60), log.read_text()
            first.kill()
            first.wait()
        ray_server.hold.clear()
        assert client.get(f"/v1/jobs/{job}").json()["state"] == "starting"
        token = json.loads((settings.jobs_root / job / "job.json").read_text())["token"]
        with process(settings, ray_server.url, "service.reconciler") as second:
            event = {"seq": 1, "attempt": 1, "time": "2026-01-01T00:00:00Z", "kind": "started", "data": {}}
            reply = client.post(
                f"/v1/jobs/{job}/events", json={"events": [event]}, headers={"Authorization": f"Bearer {token}"}
            )
            assert reply.json() == {"acked": 1, "desired": "run"}
            until(lambda: client.get(f"/v1/jobs/{job}").json()["state"] == "running", log)
            second.terminate()
            assert second.wait(20) == 0, "SIGTERM ends it in good order"
    assert ray_server.started == [f"agon-{job}-1"]


@pytest.mark.long
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_an_api_killed_while_a_job_runs_loses_nothing_and_a_stream_at_one_process_shows_what_another_took_in(
    settings: Settings, ray_server: RayServer
) -> None:
    log = settings.home / "out"

    def send(client: httpx.Client, job: str, seq: int, kind: str, **data: Any) -> None:
        token = json.loads((settings.jobs_root / job / "job.json").read_text())["token"]
        event = {"seq": seq, "attempt": 1, "time": "2026-01-01T00:00:00Z", "kind": kind, "data": data}
        reply = client.post(
            f"/v1/jobs/{job}/events", json={"events": [event]}, headers={"Authorization": f"Bearer {token}"}
        )
        assert reply.json()["acked"] == seq

    with api(settings, ray_server.url, reconciler=True) as first:
        job = first.post("/v1/jobs", json={"spec": SPEC}).json()["id"]
        until(lambda: ray_server.started, log)
        send(first, job, 1, "started")
        until(lambda: first.get(f"/v1/jobs/{job}").json()["state"] == "running", log)
    # The first API process was killed. Two new ones come.
    with (
        api(settings, ray_server.url, reconciler=True) as one,
        api(settings, ray_server.url, reconciler=True) as two,
        connect_sse(one, "GET", f"/v1/jobs/{job}/events") as source,
    ):
        stream = source.iter_sse()
        assert json.loads(next(stream).data)["state"] == "running"
        assert next(stream).id == "1"
        send(two, job, 2, "progress", metrics={"loss": 1.0})
        assert next(stream).id == "2"
        send(two, job, 3, "finished", outcome="completed")
        rest = [(message.event, message.id) for message in stream]
        assert rest == [("finished", "3"), ("state", "3")]
    assert ray_server.started == [f"agon-{job}-1"]
