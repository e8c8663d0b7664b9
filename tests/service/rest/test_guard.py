"""What happens before any endpoint is asked: no token, no body; a body that never comes; faults of our own."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import pytest

from service import body as bodies
from service.body import BodyReader, bound_of
from service.errors import Unauthenticated
from service.http import Asked, Guard

TOKEN = "t" * 40


@pytest.fixture(autouse=True)
def logs(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """An application that was made before in this process keeps our logs from pytest."""
    monkeypatch.setattr(logging.getLogger("agon"), "propagate", True)
    caplog.set_level(logging.INFO, logger="agon")


class Client:
    """One request to a Guard around an application that notes whether it was asked, and answers 200."""

    def __init__(self, *, seconds: float = 5.0) -> None:
        self.reads = 0
        self.asked: list[bytes] = []
        self.fault: Exception | None = None
        self.seen: list[int | bytes] = []
        """What its witness saw."""
        self.guard = Guard(
            self._app,
            bodies=BodyReader(4 << 20, seconds),
            hosts=["*"],
            who=self._who,
            watch=lambda *_: nullcontext(self),
        )

    async def begins(self, body: bytes) -> None:
        self.seen.append(body)

    async def ended(self, status: int, *, repeated: bool) -> None:
        self.seen.append(status)

    def _who(self, asked: Asked) -> str:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            raise Unauthenticated("no")
        return "ada"

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if self.fault:
            raise self.fault
        self.asked.append((await receive()).get("body", b""))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def send(
        self, parts: Iterable[bytes | float], *, token: str = TOKEN, path: str = "/v1/jobs", length: int | None = None
    ) -> tuple[int | None, dict[str, str], bytes]:
        """(status or None, headers, body) of a POST of these parts; a number is a pause, and the client goes after the last."""
        size = sum(len(part) for part in parts if isinstance(part, bytes)) if length is None else length
        headers = [(b"authorization", f"Bearer {token}".encode()), (b"content-length", str(size).encode())]
        scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
        return asyncio.run(self._run(scope, list(parts), size))

    async def _run(
        self, scope: dict[str, Any], parts: list[bytes | float], size: int
    ) -> tuple[int | None, dict[str, str], bytes]:
        sent: list[dict[str, Any]] = []
        self.reads_before_answer: int | None = None
        got = 0

        async def receive() -> dict[str, Any]:
            nonlocal got
            self.reads += 1
            while parts and isinstance(parts[0], float):
                await asyncio.sleep(parts.pop(0))  # type: ignore[arg-type]
            if not parts:
                return {"type": "http.disconnect"}
            part = parts.pop(0)
            got += len(part)  # type: ignore[arg-type]
            return {"type": "http.request", "body": part, "more_body": got < size}

        async def send(message: dict[str, Any]) -> None:
            if not sent:
                self.reads_before_answer = self.reads
            sent.append(message)

        await self.guard(scope, receive, send)  # type: ignore[arg-type]
        if not sent:
            return None, {}, b""
        headers = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:])


def test_without_a_known_token_the_answer_is_there_before_anything_of_the_body_is_read() -> None:
    client = Client()
    status, headers, body = client.send([b"[1,", b"1]"], token="wrong")
    assert (status, client.reads_before_answer, client.asked) == (401, 0, [])
    assert headers["connection"] == "close"
    assert json.loads(body)["status"] == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/openapi.json", "/docs/x"])
def test_where_no_token_is_asked_for_no_body_is_read_or_parsed(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "strict_json", lambda _: pytest.fail("parsed"))
    client = Client()
    client.send([b"[", b"1]"], token="wrong", path=path)
    assert (client.reads, client.asked) == (1, [b"["])  # the application's own look, of this test


def test_a_body_that_is_promised_and_never_comes_does_nothing(caplog: pytest.LogCaptureFixture) -> None:
    for parts in ([], [b"{"], [b'{"recipe": "dcgan-digits"}', b" "]):
        client = Client()
        status, *_ = client.send(parts, path="/v1/jobs/j-1/cancel", length=100)
        assert (status, client.asked) == (None, [])
        assert caplog.records[-1].facts["status"] == 499  # type: ignore[attr-defined]


def test_a_body_that_drips_has_a_deadline() -> None:
    client = Client(seconds=0.2)
    status, headers, _ = client.send([b"[", *[part for _ in range(100) for part in (0.05, b" ")], b"]"])
    assert (status, client.asked, headers["connection"]) == (408, [], "close")


def test_a_large_body_is_parsed_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    here: list[bool] = []

    def slow(body: bytes) -> None:
        try:
            asyncio.get_running_loop()
            here.append(True)
        except RuntimeError:
            here.append(False)

    monkeypatch.setattr(bodies, "strict_json", slow)
    client = Client()
    client.send([b"[" + b" " * bodies.ON_THE_LOOP + b"]"])
    client.send([b"[]"])
    assert here == [False, True]
    assert len(client.asked) == 2


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/v1/jobs/j-1/events", 3 << 20, 200), ("/v1/jobs/j-1/events", 5 << 20, 413),
        ("/v1/searches", 900 << 10, 200), ("/v1/searches", 2 << 20, 413),
        ("/v1/jobs", 200 << 10, 200), ("/v1/jobs", 300 << 10, 413), ("/v1/tokens", 300 << 10, 413),
        ("/v1/session", 1000, 200), ("/v1/session", 1100, 413),
    ],
)  # fmt: skip
def test_each_endpoint_takes_as_much_as_it_needs(path: str, size: int, status: int) -> None:
    assert Client().send([b'"' + b"x" * (size - 2) + b'"'], path=path)[0] == status


@pytest.mark.parametrize("unit", [b"1,", b"{},", b"[],", b'"",'])
def test_a_body_of_many_tiny_values_is_refused_before_it_is_parsed(
    monkeypatch: pytest.MonkeyPatch, unit: bytes
) -> None:
    monkeypatch.setattr(bodies, "strict_json", lambda body: pytest.fail("parsed"))
    most = bound_of("/v1/jobs", 4 << 20).values
    assert Client().send([b"[" + unit * most + b"1]"])[0] == 413


def test_a_fault_of_ours_is_a_problem_with_its_request_id_and_one_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = Client()
    client.fault = RuntimeError("secret")
    status, headers, body = client.send([b"{}"])
    assert (status, headers["x-content-type-options"]) == (500, "nosniff")
    assert json.loads(body)["request_id"] == headers["x-request-id"]
    assert "connection" not in headers
    assert b"secret" not in body
    assert [record.exc_info is not None for record in caplog.records if record.name == "agon.api"] == [True]
