"""The receiver of docs/webhooks.md is run: it verifies what a real API sends it, over real sockets, and nothing else."""

from __future__ import annotations

import io
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

from pages import ROOT, blocks

from service import tallies
from service.app import create_app
from service.client import Client
from service.gateway.fake_ray import FakeRay
from service.settings import Settings

(RECEIVER,) = (block for block in blocks((ROOT / "docs" / "webhooks.md",)) if block.language == "python")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """Of a real API that may post to this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = Settings(
        home=tmp_path, api_url=f"http://127.0.0.1:{port}", poll_seconds=0.05, disk_low=0, webhooks_allow="127.0.0.1"
    )
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings, FakeRay(cpus=8.0)), port=port, log_level="error", timeout_graceful_shutdown=1
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the API did not start"
        time.sleep(0.02)
    with Client(settings.api_url, settings.token_file.read_text().strip()) as found:
        yield found
    server.should_exit = True
    thread.join(20)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The page's, on a free port: its module, the server, and what it printed."""
    module: dict[str, Any] = {"__name__": "receiver"}
    exec(compile(RECEIVER.text, str(RECEIVER), "exec"), module)
    monkeypatch.setattr(module["Receiver"], "log_message", lambda *_: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), module["Receiver"])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield module, server
    server.shutdown()
    server.server_close()


def test_what_a_real_api_sends_is_verified_by_the_receiver_of_the_page(
    client: Client, receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, server = receiver
    url = f"http://127.0.0.1:{server.server_port}/"
    hook = client.add_webhook(url, ["job.cancelled"])
    monkeypatch.setenv("WEBHOOK_SECRET", hook.secret)
    before, printed = _delivered(), io.StringIO()
    with redirect_stdout(printed):
        test = _arrived(client, hook.id, client.test_webhook(hook.id).id)
        job = client.submit(recipe="dcgan-digits")
        client.cancel(job.id)
        client.wait(job.id)
        sent = _arrived(client, hook.id, next(_ids(client, hook.id, "job.cancelled")))
        client.rotate_webhook(hook.id)  # the receiver has the old secret still
        again = client.replay(hook.id, sent.id)
        assert _arrived(client, hook.id, again.id).status == 204
    assert (test.status, sent.status, sent.attempts) == (204, 204, 1)
    assert printed.getvalue().splitlines() == ["webhook.test ", f"job.cancelled {job.name}"]
    assert module["SEEN"] == {test.id, sent.id}
    forged = {"webhook-id": "msg_1", "webhook-timestamp": str(int(time.time())), "webhook-signature": "v1,bm9wZQ=="}
    assert httpx.post(url, content=b"{}", headers=forged, trust_env=False).status_code == 401
    assert _delivered() - before == 3
    assert 'agon_webhook_deliveries_total{outcome="delivered"}' in client.metrics()


def _delivered() -> float:
    """By all that this process has sent."""
    return tallies.WEBHOOKS.labels("delivered")._value.get()


def _ids(client: Client, hook: str, type_: str) -> Iterator[str]:
    """Of deliveries of that type, as they are made."""
    while True:
        yield from (item.id for item in client.deliveries(hook).items if item.type == type_)
        time.sleep(0.05)


def _arrived(client: Client, hook: str, delivery: str) -> Any:
    while True:
        found = client.delivery(hook, delivery)
        if found.outcome != "pending":
            return found
        time.sleep(0.05)
