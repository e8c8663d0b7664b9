"""docs/threats.md: its table of roles is that of the routes, and what it says to do after a theft is done."""

from __future__ import annotations

import inspect
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi.routing import APIRoute

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

from pages import ROOT, blocks

import service.client
from service.access import callers, entry, rules, things
from service.access.rules import Action
from service.access.tokens import Scope
from service.app import create_app
from service.client import Client, Unauthenticated
from service.gateway.fake_ray import FakeRay
from service.http import is_open
from service.routes import all_routes
from service.settings import Settings

PAGE = ROOT / "docs" / "threats.md"
(EXAMPLE,) = (block for block in blocks((PAGE,)) if block.language == "python")
CALLS = [
    (method, route) for route in all_routes() if isinstance(route, APIRoute) for method in sorted(route.methods or ())
]


def rows() -> list[tuple[str, str, list[str]]]:
    """Of the first table: roles, whose, and patterns of calls."""
    section = PAGE.read_text().split("## Who may do what")[1].split("\n## ")[0]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return [(roles, whose, re.findall(r"`([^`]+)`", calls)) for roles, whose, _, calls in table[2:]]


def fits(call: str, pattern: str) -> bool:
    return fnmatchcase(call, pattern.replace("[", "[[]"))


def of_table(call: str) -> tuple[str, str]:
    return next(((roles, whose) for roles, whose, patterns in rows() if any(fits(call, p) for p in patterns)), ("", ""))


def called(dependant: Any) -> Iterator[Any]:
    """What stands before and in an endpoint."""
    yield dependant.call
    for part in dependant.dependencies:
        yield from called(part)


def looks_at_role(route: APIRoute) -> bool:
    """Whether the endpoint, or what stands before it alone, asks for the caller's role itself."""
    own = [call for call in called(route.dependant) if inspect.isroutine(call) and call.__module__ != callers.__name__]
    return any(re.search(r"Scope\.ADMIN|_whose\(", inspect.getsource(call)) for call in own)


def of_code(method: str, route: APIRoute) -> str:
    """The roles that may call it at all."""
    if is_open(route.path) or (method, route.path) == entry.FORM:
        return "anyone"
    if callers.admin in called(route.dependant):
        return "admin"
    action = rules.action_of(method, route.path)
    ordered = (Scope.VIEWER, Scope.USER, Scope.ADMIN, Scope.JOB)
    return ", ".join(scope for scope in ordered if rules.may(scope, action))


@pytest.mark.parametrize(("method", "route"), CALLS, ids=[f"{method} {route.path}" for method, route in CALLS])
def test_the_table_says_who_may_call_it(method: str, route: APIRoute) -> None:
    roles, whose = of_table(f"{method} {route.path}")
    assert roles == of_code(method, route)
    action = rules.action_of(method, route.path)
    if action is Action.READ and roles != "admin":
        narrow = looks_at_role(route)
    else:  # what is made is one's own; what is there has an owner, and the path says which it is
        one = "{" in route.path
        narrow = action is Action.CHANGE and one and (things.kind_of(route.path) is not None or looks_at_role(route))
    assert ("admin: all" in whose) == narrow


def test_the_table_has_no_row_and_no_call_that_there_is_not() -> None:
    calls = [f"{method} {route.path}" for method, route in CALLS]
    assert len(rows()) == 11
    for _, _, patterns in rows():
        for pattern in patterns:
            assert any(fits(call, pattern) for call in calls), pattern


@pytest.fixture
def api(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Address and administrator's token of a real one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = Settings(
        home=tmp_path, api_url=f"http://127.0.0.1:{port}", poll_seconds=0.05, disk_low=0, webhooks=False
    )
    app = create_app(settings, FakeRay(cpus=8.0))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the API did not start"
        time.sleep(0.02)
    yield settings.api_url, settings.token_file.read_text().strip()
    server.should_exit = True
    thread.join(20)


def test_after_a_theft_the_example_ends_all_that_the_thief_has(
    api: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url, token = api
    ended, hears = threading.Event(), threading.Event()
    spare: list[str] = []

    class Here(Client):
        """Talks to the API of this test. Whoever submits follows all runs from then on, until the stream ends."""

        def __init__(self, at: str = url, secret: str = token) -> None:
            super().__init__(at, secret)
            self.secret = secret

        def submit(self, **asked: Any) -> Any:
            def follow() -> None:
                headers = {"Authorization": f"Bearer {self.secret}", "Last-Event-ID": "0"}
                with (
                    httpx.Client(trust_env=False, timeout=60) as http,
                    http.stream("GET", f"{url}/v1/events", headers=headers) as reply,
                ):
                    for _ in reply.iter_raw():
                        hears.set()
                ended.set()

            job = super().submit(**asked)
            threading.Thread(target=follow, daemon=True).start()
            assert hears.wait(30)
            return job

        def create_token(self, name: str, **asked: Any) -> Any:
            made = super().create_token(name, **asked)
            if name == "spare":
                spare.append(made.token)
            return made

    monkeypatch.setattr(service.client, "Client", Here)
    exec(compile(EXAMPLE.text, str(EXAMPLE), "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed == re.findall(r"#\s((?:this|job|webhook|token|0).*)", EXAMPLE.text)
    assert ended.wait(30)
    with Here() as admin, Client(url, spare[0]) as thief:
        assert admin.webhooks().items == ()
        assert [job.desired for job in admin.jobs().items] == ["stop"]
        with pytest.raises(Unauthenticated):
            thief.me()
        assert "authenticate" in [entry.action for entry in admin.audit(actor="").items]
