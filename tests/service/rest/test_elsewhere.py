"""What a request makes the API do elsewhere: it ends in time, it is bounded, and nothing else waits for it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import ClientDisconnect

from service import elsewhere
from service.elsewhere import Errand, Pool, Pulse
from service.errors import Unavailable


class Hanging:
    """A call that hangs until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.running = 0

    def __call__(self) -> str:
        self.running += 1
        self.let_go.wait(30)
        return "done"


def test_a_call_that_outlives_its_time_is_answered_and_keeps_its_place_until_it_returns() -> None:
    async def story() -> None:
        pool, hanging = Pool("the data", seconds=0.2, width=1), Hanging()
        with pytest.raises(Unavailable, match=r"the data did not answer within 0\.2 s") as late:
            await pool.run(hanging, errand=Errand("ada"))
        assert "Retry-After" in late.value.headers
        with pytest.raises(Unavailable, match="too many requests wait"):
            await pool.run(lambda: pytest.fail("the place is taken"), errand=Errand("bob"))
        hanging.let_go.set()
        assert await Pool.run(pool, lambda: 7, errand=Errand("bob")) == 7
        assert hanging.running == 1

    asyncio.run(story())


def test_one_caller_can_not_take_all_places() -> None:
    async def story() -> None:
        pool, hanging = Pool("the data", seconds=5, width=3, share=2), Hanging()
        waiting = [asyncio.create_task(pool.run(hanging, errand=Errand("eve"))) for _ in range(20)]
        await asyncio.sleep(0.1)
        assert await pool.run(lambda: 7, errand=Errand("ada")) == 7
        assert hanging.running == 2
        hanging.let_go.set()
        assert await asyncio.gather(*waiting) == ["done"] * 20

    asyncio.run(story())


def test_one_caller_can_not_take_the_whole_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsewhere, "MOST_WAITING_OF_ONE", 5)

    async def story() -> None:
        pool, hanging = Pool("the data", seconds=5, width=2, share=1), Hanging()
        waiting = [asyncio.create_task(pool.run(hanging, errand=Errand("eve"))) for _ in range(6)]
        await asyncio.sleep(0.1)
        with pytest.raises(Unavailable, match="too many requests wait for the data"):
            await pool.run(hanging, errand=Errand("eve"))
        also = [asyncio.create_task(pool.run(hanging, errand=Errand("ada"))) for _ in range(6)]
        await asyncio.sleep(0.1)
        hanging.let_go.set()
        assert await asyncio.gather(*waiting, *also) == ["done"] * 12

    asyncio.run(story())


def test_what_a_call_raises_is_raised_and_frees_its_place() -> None:
    def wrong() -> None:
        raise KeyError("x")

    async def story() -> None:
        pool = Pool("the data", seconds=5, width=1)
        for _ in range(3):
            with pytest.raises(KeyError):
                await pool.run(wrong, errand=Errand())

    asyncio.run(story())


def test_a_call_is_given_up_when_its_client_has_gone_running_or_waiting() -> None:
    async def story() -> None:
        pool, hanging, stop = Pool("the data", seconds=60, width=1), Hanging(), threading.Event()
        here = {"ada": True, "bob": True}

        def errand(name: str) -> Errand:
            async def gone() -> bool:
                return not here[name]

            return Errand(name, gone)

        runs = asyncio.create_task(pool.run(hanging, errand=errand("ada"), stop=stop))
        waits = asyncio.create_task(pool.run(lambda: pytest.fail("is gone"), errand=errand("bob")))
        await asyncio.sleep(0.1)
        assert not stop.is_set()
        here.update(ada=False, bob=False)
        for task in (runs, waits):
            with pytest.raises(ClientDisconnect):
                await task
        assert stop.is_set()
        hanging.let_go.set()
        assert await pool.run(lambda: 7, errand=Errand()) == 7

    asyncio.run(story())


def test_a_pulse_that_hangs_is_asked_once_and_later_visitors_hear_so_at_once() -> None:
    async def story() -> None:
        pulse, hanging = Pulse("Ray"), Hanging()
        for _ in range(5):
            with pytest.raises(TimeoutError, match="no answer"):
                await pulse.feel(hanging)
        assert hanging.running == 1
        hanging.let_go.set()
        await asyncio.sleep(0.2)
        await pulse.feel(lambda: None)

    asyncio.run(story())


class Dripping:
    """A server that answers every request with a byte now and then, for ever."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/slow"
        self.requests = 0
        self._closed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.requests += 1
            threading.Thread(target=self._drip, args=(connection,), daemon=True).start()

    def _drip(self, connection: socket.socket) -> None:
        try:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
            while not self._closed.wait(0.5):
                connection.sendall(b" ")
        except OSError:
            pass

    def close(self) -> None:
        self._closed.set()
        self.socket.close()


@pytest.fixture
def dripping() -> Iterator[Dripping]:
    server = Dripping()
    yield server
    server.close()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A real API process without Ray and MLflow, and its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "uvicorn", "service.app:create_app", "--factory", "--port", str(port),
        "--timeout-graceful-shutdown", "2",
    ]  # fmt: skip
    env = {**os.environ, "AGON_HOME": str(tmp_path), "AGON_RAY_ADDRESS": "http://127.0.0.1:1"}
    env |= {
        "AGON_PRIVATE_HOSTS": "127.0.0.1",
        "AGON_DATA_SECONDS": "60",
    }  # the server that drips is here, and patience with it
    with (tmp_path / "api.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{url}/healthz")
                break
            except httpx.HTTPError:
                assert process.poll() is None, (tmp_path / "api.log").read_text()
                assert time.monotonic() < until
                time.sleep(0.05)
        yield process, url
    finally:
        process.kill()
        process.wait()


@pytest.mark.long
def test_submissions_whose_data_drip_stop_neither_the_api_nor_its_end(
    api: tuple[subprocess.Popen[bytes], str], dripping: Dripping, tmp_path: Path
) -> None:
    process, url = api
    headers = {"Authorization": f"Bearer {(tmp_path / 'token').read_text().strip()}"}
    body = json.dumps({"recipe": "dcgan-digits", "set": {"data.url": dripping.url}}).encode()

    async def story() -> list[Any]:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30, limits=limits) as client:
            submissions = [asyncio.create_task(client.post("/v1/jobs", content=body)) for _ in range(45)]
            while not dripping.requests:
                await asyncio.sleep(0.05)
            for path in ("/v1/jobs", "/readyz", "/healthz", "/v1/recipes"):
                assert (await client.get(path)).status_code == 200
            assert (await client.post("/v1/validate", json={"recipe": "dcgan-digits"})).status_code == 200
            assert not any(task.done() for task in submissions), "they wait while all else is answered"
            assert dripping.requests <= 4
            process.send_signal(signal.SIGTERM)
            return await asyncio.gather(*submissions, return_exceptions=True)

    replies = asyncio.run(story())
    assert process.wait(10) in (0, -signal.SIGTERM), "and it ends by itself, though calls hang"
    assert {reply.status_code for reply in replies if isinstance(reply, httpx.Response)} <= {503}
    assert "Traceback" not in (tmp_path / "api.log").read_text()
