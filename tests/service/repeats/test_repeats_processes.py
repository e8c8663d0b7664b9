"""Real processes: the same key, sent to two API processes on one database at once, does one thing and is answered alike."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import httpx
import pytest

from service.access.tokens import read_or_create
from service.settings import Settings

pytestmark = [pytest.mark.system, pytest.mark.databases, pytest.mark.long]
KEYS = 25
JOB = {"recipe": "dcgan-digits"}


class Api:
    """One process, and who talks to it."""

    def __init__(self, settings: Settings) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        env = {
            **os.environ, "AGON_HOME": str(settings.home), "AGON_DATABASE_URL": settings.database_url, "AGON_RECONCILER": "false",
            "AGON_WEBHOOKS": "false", "AGON_PREFLIGHT_SECONDS": "0", "AGON_RAY_ADDRESS": "http://127.0.0.1:1",
        }  # fmt: skip
        command = ("uvicorn", "service.app:create_app", "--factory", "--port", str(port), "--log-level", "warning")
        self.log = settings.home / f"out-{port}"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen([sys.executable, "-m", *command], env=env, stdout=out, stderr=out)
        token = read_or_create(settings.token_file)
        headers = {"Authorization": f"Bearer {token}"}
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60, headers=headers)

    def ready(self) -> None:
        """Wait until it answers."""
        for _ in range(1200):
            try:
                if self.client.get("/healthz").is_success:
                    return
            except httpx.HTTPError:
                time.sleep(0.05)
        pytest.fail(self.log.read_text()[-3000:])

    def post(self, path: str, key: str, body: Any = None) -> httpx.Response:
        """With the key; one that is told to wait does."""
        while True:
            reply = self.client.post(path, json=body, headers={"Idempotency-Key": key})
            if reply.status_code != 409 or not reply.json()["type"].endswith("under-way"):
                return reply
            time.sleep(0.05)


@pytest.fixture
def both(settings: Settings) -> Iterator[tuple[Api, Api]]:
    apis = Api(settings), Api(settings)
    try:
        for api in apis:
            api.ready()
        yield apis
    finally:
        for api in apis:
            api.client.close()
            api.process.kill()
            api.process.wait()


def at_once(both: tuple[Api, Api], post: Callable[[Api], httpx.Response]) -> list[httpx.Response]:
    """To each at the same moment."""
    ready = Barrier(len(both))

    def one(api: Api) -> httpx.Response:
        ready.wait()
        return post(api)

    with ThreadPoolExecutor(len(both)) as pool:
        return list(pool.map(one, both))


def test_one_key_sent_to_both_at_once_makes_one_job_and_equal_answers(both: tuple[Api, Api]) -> None:
    made = set()
    for number in range(KEYS):
        first, second = at_once(both, lambda api, key=f"k{number}": api.post("/v1/jobs", key, JOB))
        assert {first.status_code, second.status_code} <= {200, 201}, (first.text, second.text)
        assert first.json() == second.json()
        made.add(first.json()["id"])
    assert len(made) == KEYS
    listed = both[0].client.get("/v1/jobs", params={"limit": 2 * KEYS}).json()["items"]
    assert {job["id"] for job in listed} == made


def test_one_key_sent_to_both_at_once_is_done_once_where_the_answer_is_kept(both: tuple[Api, Api]) -> None:
    """A test message of a webhook is another one each time that it is asked for."""
    hook = both[0].client.post("/v1/webhooks", json={"url": "https://hooks.example.com/"}).json()["id"]
    path = f"/v1/webhooks/{hook}"
    made = set()
    for number in range(KEYS):
        first, second = at_once(both, lambda api, key=f"k{number}": api.post(f"{path}/test", key))
        assert (first.status_code, second.status_code, first.content) == (202, 202, second.content)
        assert ["Idempotency-Replayed" in reply.headers for reply in (first, second)].count(True) == 1
        made.add(first.json()["id"])
    listed = both[1].client.get(f"{path}/deliveries", params={"limit": 2 * KEYS}).json()["items"]
    assert {item["id"] for item in listed} == made
    assert len(made) == KEYS


def test_whoever_asks_the_other_one_after_a_kill_gets_one_job(both: tuple[Api, Api]) -> None:
    one, other = both
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(one.post, "/v1/jobs", f"k{number}", JOB) for number in range(16)]
        while not any(future.done() for future in asked):
            time.sleep(0.001)
        one.process.send_signal(signal.SIGKILL)
    answers = [None if future.exception() else future.result().json()["id"] for future in asked]
    again = [other.post("/v1/jobs", f"k{number}", JOB).json()["id"] for number in range(16)]
    assert all(before in (None, after) for before, after in zip(answers, again, strict=True))
    listed = other.client.get("/v1/jobs", params={"limit": 100}).json()["items"]
    assert sorted(job["id"] for job in listed) == sorted(set(again))
    assert len(set(again)) == 16
