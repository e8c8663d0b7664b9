"""Ray Serve's REST API and its proxy, asked by the real gateway: what is sent, and what is made of every kind of answer."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers

from service.gateway.dashboard import RayAwayError, RayUnreachableError
from service.gateway.ray_serve import (
    Application,
    CutError,
    HttpRayServe,
    LateError,
    NoProxyError,
    ServeRefusedError,
    port_of,
)
from trainer.serve.wire import QUESTION_HEADER, SHORT

DETAILS = {
    "controller_info": {"node_id": "n", "actor_id": "a"},
    "http_options": {"host": "127.0.0.1", "port": 8702},
    "proxies": {"n": {"status": "HEALTHY"}},
    "applications": {
        "models": {
            "name": "models",
            "status": "DEPLOYING",
            "message": "",
            "deployed_app_config": {"args": {"cpus": 1.0}},
            "deployments": {
                "Models": {
                    "message": "2 replicas wait for CPUs",
                    "replicas": [{"state": "RUNNING"}, {"state": "STARTING"}, {"state": "STOPPING"}],
                }
            },
        }
    },
}


class Ray:
    """A dashboard that answers as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.status, self.body = 200, b"{}"
        self.asked: list[tuple[str, str, str, Any]] = []


@contextmanager
def served(ray: Ray) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length) or b"null")
            ray.asked.append((self.command, self.path, self.headers.get("Authorization", ""), body))
            self.send_response(ray.status)
            self.send_header("Content-Length", str(len(ray.body)))
            self.end_headers()
            self.wfile.write(ray.body)

        do_GET = do_PUT = do_DELETE = handle_any  # noqa: N815 — as http.server calls them

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def ray() -> Ray:
    return Ray()


@pytest.fixture
def serve(ray: Ray, tmp_path: Path) -> Iterator[HttpRayServe]:
    (tmp_path / "token").write_text("secret\n")
    with served(ray) as url:
        gateway = HttpRayServe(url, tmp_path / "token", "http://127.0.0.1:8702")
        yield gateway
        gateway.close()


def test_applications_are_declared_all_at_once_with_rays_own_token(ray: Ray, serve: HttpRayServe) -> None:
    serve.declare([Application("models", {"cpus": 2.0}), Application("plans", {})])
    ((method, path, token, body),) = ray.asked
    assert (method, path, token) == ("PUT", "/api/serve/applications/", "Bearer secret")
    assert body == {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": 8702},
        "applications": [
            {
                "name": "models",
                "route_prefix": "/models",
                "import_path": "trainer.serve.app:build",
                "args": {"cpus": 2.0},
            },
            {"name": "plans", "route_prefix": "/plans", "import_path": "trainer.serve.app:build_plans", "args": {}},
        ],
    }


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://localhost:9000", "127.0.0.1", 9000),
        ("http://[::1]:9000", "127.0.0.1", 9000),
        ("http://ray-head:8702", "0.0.0.0", 8702),
        ("http://ray-head", "0.0.0.0", 80),
    ],
)
def test_the_proxy_listens_on_loopback_alone_if_it_is_reached_there(url: str, host: str, port: int) -> None:
    assert HttpRayServe("http://ray:8265", None, url).http_options == {"host": host, "port": port}
    assert port_of(url) == port


def test_what_serve_tells_is_read(ray: Ray, serve: HttpRayServe) -> None:
    ray.body = json.dumps(DETAILS).encode()
    state = serve.state()
    assert (state.there, state.port, state.proxies) == (True, 8702, ("HEALTHY",))
    models = state.applications["models"]
    assert (models.status, models.running, models.coming, models.left) == ("DEPLOYING", 1, 1, 1)
    assert models.message == "2 replicas wait for CPUs"
    assert models.args == {"cpus": 1.0}


def test_a_serve_that_is_not_there_is_no_error(ray: Ray, serve: HttpRayServe) -> None:
    ray.body = json.dumps({"controller_info": {}, "proxies": {}, "applications": {}}).encode()
    assert not serve.state().there
    assert serve.state().applications == {}
    serve.shutdown()


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"{}", b'{"applications": [1]}', b'{"applications": {"models": 3}}']
)
def test_what_is_no_answer_of_serve_says_nothing_of_it(ray: Ray, serve: HttpRayServe, body: bytes) -> None:
    ray.body = body
    with pytest.raises(RayUnreachableError):
        serve.state()


@pytest.mark.parametrize("status", [400, 501])
def test_a_declaration_that_serve_refuses_is_refused(ray: Ray, serve: HttpRayServe, status: int) -> None:
    ray.status, ray.body = status, b"Traceback\nValueError: no such thing"
    with pytest.raises(ServeRefusedError, match="no such thing"):
        serve.declare([])


@pytest.mark.parametrize("status", [401, 403, 500, 502, 503])
def test_of_a_ray_that_fails_nothing_is_known(ray: Ray, serve: HttpRayServe, status: int) -> None:
    ray.status, ray.body = status, b"some trouble"
    for call in (serve.state, serve.shutdown, lambda: serve.declare([])):
        with pytest.raises(RayUnreachableError, match="some trouble"):
            call()


def test_a_ray_that_is_away_is_away() -> None:
    with socket.socket() as held:  # bound, and nobody listens
        held.bind(("127.0.0.1", 0))
        gateway = HttpRayServe(f"http://127.0.0.1:{held.getsockname()[1]}", None, "http://127.0.0.1:1")
        with pytest.raises(RayAwayError) as caught:
            gateway.state()
    assert caught.value.nobody


# -- the proxy


OK = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 3\r\n\r\npng"


class Proxy:
    """A listening socket that answers each connection with these bytes, and sees when its client closes."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer, self.closed, self.taken = answer, asyncio.Event(), asyncio.Event()
        self.head = b""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What the first question came with."""
        lines = self.head.strip().split(b"\r\n")[1:]
        return [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head = await reader.readuntil(b"\r\n\r\n")
        self.taken.set()
        if self.answer is not None:
            writer.write(self.answer)
            await writer.drain()
            writer.close()
            return
        while await reader.read(1024):
            pass
        self.closed.set()
        writer.close()


async def asked(
    answer: bytes | None, seconds: float = 10.0, most: int = 1 << 20, body: bytes = b"{}"
) -> tuple[Any, Proxy]:
    """What comes of a question: the answer or the error."""
    proxy = Proxy(answer)
    server = await asyncio.start_server(proxy.take, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    gateway = HttpRayServe("http://127.0.0.1:1", None, url, most=most)
    try:
        return await gateway.ask("/models/generate", body, {"authorization": "Bearer t"}, seconds), proxy
    except Exception as error:
        if answer is None:
            await asyncio.wait_for(proxy.closed.wait(), 10)
        return error, proxy
    finally:
        await gateway.aclose()
        server.close()


def test_the_answer_comes_as_it_was_given() -> None:
    found, _ = asyncio.run(asked(OK))
    assert (found.status, found.content, found.headers["content-type"]) == (200, b"png", "image/png")


@pytest.mark.parametrize(
    ("body", "short"),
    [
        (b'{"n":1,"labels":"cat"}', True),
        (b'"' + b"x" * (SHORT - 2) + b'"', True),
        (b'"' + b"x" * (SHORT - 1) + b'"', False),
        ('{"labels":"Kätzchen"}'.encode(), False),
        (b'{"labels":"\x7f"}', False),
        (b"", True),
    ],
    ids=["short", "just", "long", "no ASCII", "unprintable", "nothing"],
)
def test_a_short_question_comes_as_a_header_and_any_other_as_the_body(body: bytes, short: bool) -> None:
    found, proxy = asyncio.run(asked(OK, body=body))
    assert found.status == 200
    headers = Headers(raw=[(name.lower(), value) for name, value in proxy.headers()])
    assert headers.get(QUESTION_HEADER) == (body.decode() if short else None)
    assert headers["content-length"] == ("0" if short else str(len(body)))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"\x00\x01garbage\r\n\r\n",
        OK.replace(b"3\r\n", b"99999999\r\n"),
    ],
    ids=["nothing", "half", "garbage", "too little"],
)
def test_half_of_an_answer_is_none(answer: bytes) -> None:
    found, _ = asyncio.run(asked(answer))
    assert isinstance(found, CutError)


def test_an_answer_without_end_is_cut() -> None:
    found, _ = asyncio.run(asked(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 3000, most=1000))
    assert isinstance(found, CutError)
    assert "1000 bytes" in str(found)


def test_an_answer_that_is_late_is_not_waited_for_and_the_connection_is_closed() -> None:
    found, proxy = asyncio.run(asked(None, seconds=0.2))
    assert isinstance(found, LateError)
    assert proxy.closed.is_set()


def test_a_proxy_that_is_not_there_took_nothing() -> None:
    async def nobody() -> None:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            gateway = HttpRayServe("http://127.0.0.1:1", None, f"http://127.0.0.1:{held.getsockname()[1]}")
            with pytest.raises(NoProxyError):
                await gateway.ask("/models/generate", b"{}", {}, 5.0)
            await gateway.aclose()

    asyncio.run(nobody())


def test_who_stops_asking_closes_the_connection() -> None:
    async def stops() -> None:
        proxy = Proxy(None)
        server = await asyncio.start_server(proxy.take, "127.0.0.1", 0)
        gateway = HttpRayServe("http://127.0.0.1:1", None, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        task = asyncio.create_task(gateway.ask("/models/generate", b"{}", {}, 60.0))
        await asyncio.wait_for(proxy.taken.wait(), 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.wait_for(proxy.closed.wait(), 10)
        await gateway.aclose()
        server.close()

    asyncio.run(stops())
