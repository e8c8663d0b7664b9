"""The client where the environment names a proxy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from servers import Server, status

from service.client.connection import Connection
from service.client.errors import Unreachable
from service.stack import record as records
from service.stack.layout import Layout
from service.stack.ports import Ports
from service.stack.record import StackRecord


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    server = Server({"*": status(200, b"from the proxy")})
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AGON_HOME", str(tmp_path))
    yield server
    server.close()


def get(url: str) -> bytes:
    connection = Connection(url, "token", timeout=10, patience=0)
    try:
        return connection.call("GET", "/v1/jobs").content
    finally:
        connection.close()


def test_an_api_on_this_machine_is_asked_directly_and_a_remote_one_through_the_proxy(proxy: Server) -> None:
    near = Server({"*": status(200, b"from here")})
    for host in ("127.0.0.1", "localhost"):
        assert get(f"http://{host}:{near.port}") == b"from here"
    assert proxy.lines == []
    assert get("http://agon.example") == b"from the proxy"
    near.close()


def test_the_local_stacks_own_address_is_asked_directly_whatever_it_is(proxy: Server, tmp_path: Path) -> None:
    facts: dict[str, Any] = {"stack_id": "s", "started_at": datetime.now(UTC), "cpus": None, "parts": {}}
    own = StackRecord(host="192.0.2.7", ports=asdict(Ports(1, 2, 3, 4)), **facts)
    records.write(Layout(tmp_path).record, own)
    connection, other = (Connection(url, "t", timeout=1, patience=0) for url in (own.api_url, "http://192.0.2.8:1"))
    assert (connection.proxied, other.proxied) == (False, True)
    connection.close()
    other.close()


def test_a_proxy_that_stands_between_is_named(proxy: Server) -> None:
    proxy.close()
    with pytest.raises(Unreachable, match=r"environment's proxy; NO_PROXY"):
        get("http://agon.example")
    with pytest.raises(Unreachable) as caught:
        get("http://127.0.0.1:1")
    assert "proxy" not in str(caught.value)
