"""Where messages may go."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import Server, dripping, moved, status

from service.settings import Settings
from service.webhooks.addresses import access, wrong
from service.webhooks.schedule import Answer
from service.webhooks.sending import HttpPost
from trainer.access import Access

HERE = Access(hosts=("127.0.0.0/8",))
Start = Callable[..., Server]


@pytest.fixture
def start() -> Iterator[Start]:
    servers: list[Server] = []

    def begin(answer: Any, host: str = "127.0.0.1") -> Server:
        servers.append(Server({"*": answer}, host))
        return servers[-1]

    yield begin
    for server in servers:
        server.close()


def settings(**given: Any) -> Settings:
    return Settings(home=Path("/nowhere"), **given)


def post(url: str, reach: Access, seconds: float = 20.0) -> Answer:
    return asyncio.run(HttpPost(reach, seconds)(url, {"webhook-id": "msg_1"}, "{}"))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://example.com/x", "no http(s) URL"),
        ("file:///etc/passwd", "no http(s) URL"),
        ("gopher://example.com", "no http(s) URL"),
        ("example.com/x", "no http(s) URL"),
        ("https://", "no http(s) URL"),
        ("https:///x", "no http(s) URL"),
        ("https://exa mple.com", "no http(s) URL"),
        ("https://example.com\\@10.0.0.1/", "no http(s) URL"),
        ("https://example.com/\r\nX: y", "no http(s) URL"),
        ("https://[::1", "no URL"),
        ("https://example.com:99999/", "no URL"),
        ("https://ada:secret@example.com/", "a login"),
        ("https://example.com@10.0.0.1/", "a login"),
        ("https://example.com/#there", "a fragment"),
        ("https://example.com:25/", "port 25"),
        ("https://example.com:22/", "port 22"),
        ("https://example.com:0/", "port 0"),
        ("http://example.com/", "is http"),
        ("https://127.0.0.1/", "a loopback address"),
        ("https://localhost/", "this machine"),
        ("https://sub.localhost./", "this machine"),
        ("https://0.0.0.0/", "unspecified"),
        ("https://10.1.2.3/", "a private address"),
        ("https://169.254.169.254/latest/meta-data", "a link-local address"),
        ("https://100.64.0.1/", "a reserved address"),
        ("https://224.0.0.1/", "a multicast address"),
        ("https://[::1]/", "a loopback address"),
        ("https://[::]/", "an unspecified address"),
        ("https://[fe80::1]/", "a link-local address"),
        ("https://[fd00:ec2::254]/", "a private address"),
        ("https://[::ffff:10.0.0.1]/", "a private address"),
        ("https://[::ffff:a9fe:a9fe]/", "a link-local address"),
        ("https://[64:ff9b::7f00:1]/", "a loopback address"),
        ("https://[2002:7f00:1::]/", "address"),
        ("https://2130706433/", "no address as it is written"),
        ("https://127.1/", "no address as it is written"),
        ("https://0x7f.1/", "no address as it is written"),
        ("https://0x7f000001/", "no address as it is written"),
        ("https://0177.0.0.1/", "no address as it is written"),
    ],
)
def test_what_no_message_may_be_sent_to_is_refused_with_the_way_out(url: str, why: str) -> None:
    found = wrong(url, settings())
    assert found is not None
    assert (found.path, why in found.message, bool(found.fix)) == ("url", True, True), found.message
    assert "secret" not in found.value


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/agon?x=1",
        "https://example.com:8443/",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]:443/",
    ],
)
def test_what_is_public_may_be_one(url: str) -> None:
    assert wrong(url, settings()) is None


def test_an_allowed_host_may_be_private_and_http_and_nothing_else_becomes_so() -> None:
    allowed = settings(webhooks_allow="chat.lan, 10.20.0.0/16")
    assert [wrong(url, allowed) for url in ("http://chat.lan/x", "http://10.20.3.4:9000/", "https://chat.lan/")] == [
        None
    ] * 3
    for url in (
        "http://10.21.0.1/",
        "https://10.21.0.1/",
        "http://example.com/",
        "http://8.8.8.8/",
        "http://evil.chat.lan/",
    ):
        assert wrong(url, allowed) is not None, url
    assert wrong("http://example.com/", settings(webhooks_http=True)) is None
    assert wrong("http://127.0.0.1/", settings(webhooks_http=True)) is not None
    assert access(settings()) == Access(hosts=()), "by default nothing off the internet"


# -- attempts, at real receivers


def test_an_answer_is_what_the_receiver_said(start: Start) -> None:
    server = start(status(429, b"no" * 40_000, **{"Retry-After": "7"}))
    assert post(f"http://127.0.0.1:{server.port}/x?y=1", HERE) == Answer(429, retry_after=7.0)
    head = server.heads[0].decode()
    assert head.startswith("POST /x?y=1 HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{server.port}" in head
    assert "webhook-id: msg_1" in head


def test_no_redirect_is_followed(start: Start) -> None:
    inner = start(status(200))
    outer = start(moved(f"http://127.0.0.1:{inner.port}/", 307))
    assert post(f"http://127.0.0.1:{outer.port}", HERE).status == 307
    assert inner.lines == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_no_spelling_of_this_machine_is_asked(start: Start, host: str) -> None:
    server = start(status(200))
    answer = post(f"http://{host}:{server.port}/", Access(hosts=()))
    assert (answer.status, bool(answer.error)) == (None, True)
    assert server.lines == []


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Name look-ups are answered so, one after the other; the names that were looked up."""
    asked: list[str] = []
    left = list(answers)

    def look(host: str, port: int, *_: object, **__: object) -> Any:
        asked.append(host)
        found = left.pop(0) if len(left) > 1 else left[0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look)
    return asked


@pytest.mark.parametrize(
    "found",
    [
        ["127.0.0.1"],
        ["8.8.8.8", "127.0.0.1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::a00:1"],
        ["fe80::1%eth0"],
        ["168.63.129.16"],
    ],
)
def test_a_name_is_refused_if_any_address_of_it_is(
    start: Start, monkeypatch: pytest.MonkeyPatch, found: list[str]
) -> None:
    server = start(status(200))
    resolving(monkeypatch, found)
    answer = post(f"http://mixed.example:{server.port}/", Access(hosts=()))
    assert (answer.status, "AGON_WEBHOOKS_ALLOW=mixed.example" in answer.error) == (None, True)
    assert server.lines == []


def test_one_address_that_may_not_be_asked_refuses_those_that_may(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(status(200))
    resolving(monkeypatch, ["127.0.0.1", "10.0.0.1"])
    answer = post(f"http://mixed.example:{server.port}/", Access(hosts=("127.0.0.1",)))
    assert (answer.status, "a private address" in answer.error, server.lines) == (None, True, [])


def test_a_name_is_looked_up_once_and_what_was_judged_is_connected_to(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second look-up would be answered with another address: DNS rebinding."""
    server, other = start(status(200)), Access(hosts=("127.0.0.1",))
    asked = resolving(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])
    answer = post(f"http://rebinding.example:{server.port}/", other)
    assert (answer.status, asked) == (200, ["rebinding.example"])
    assert f"Host: rebinding.example:{server.port}" in server.heads[0].decode()


def test_a_proxy_of_the_environment_is_not_used(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, server = start(status(200)), start(status(204))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert post(f"http://127.0.0.1:{server.port}/", HERE).status == 204
    assert proxy.lines == []


@pytest.mark.parametrize("begin", [0, 200], ids=["head", "body"])
def test_a_receiver_that_drips_is_given_up_when_the_time_is_over(start: Start, begin: int) -> None:
    whole = status(200, b"x" * 1000)

    def answer(connection: socket.socket) -> None:
        connection.sendall(whole[:begin])
        dripping(whole[begin:])(connection)

    server = start(answer)
    found = post(f"http://127.0.0.1:{server.port}/", HERE, seconds=0.3)
    assert (found.status, found.error) == (None, "no whole answer within 0.3 s")


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-secret\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nsecret secret\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsec",
    ],
)
def test_what_is_no_whole_answer_has_failed_and_is_never_quoted(start: Start, answer: bytes) -> None:
    found = post(f"http://127.0.0.1:{start(answer).port}/", HERE)
    assert (found.status, bool(found.error), "secret" in found.error) == (None, True, False)


def test_a_receiver_that_is_not_there_is_told_in_words(start: Start) -> None:
    server = start(status(200))
    server.close()
    assert re.search("refuses connections", post(f"http://127.0.0.1:{server.port}/", HERE).error)
