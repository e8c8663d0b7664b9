"""`agon audit` and `agon events`: what was done and what happens, filtered, as JSON, followed until Ctrl-C or until the token ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from service.client import Client, NotFound

Agon = Callable[..., Any]


@contextmanager
def meanwhile(do: Callable[[], Any]) -> Iterator[None]:
    """Do it now and then: whoever follows hears what comes once the stream has begun."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.1):
            do()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def interrupted(
    monkeypatch: pytest.MonkeyPatch, name: str, count: int, after: Callable[[], Any] = lambda: None
) -> None:
    """Somebody presses Ctrl-C once that many came. after: is called after each."""
    real = getattr(Client, name)

    def until(self: Client, **asked: Any) -> Iterator[Any]:
        came = real(self, **asked)
        for _ in range(count):
            yield next(came)
            after()
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, name, until)


def test_the_audit_is_listed_by_what_is_asked_for(agon: Agon, world: Any) -> None:
    for name in ("ada", "bob"):
        assert agon("tokens", "create", name).code == 0
    assert agon("tokens", "revoke", "t-000000000000").code == 4
    whole = json.loads(agon("audit", "--json").out)
    assert [(entry["action"], entry["outcome"]) for entry in whole] == [
        ("token.revoke", "refused"), ("token.create", "done"), ("token.create", "done"),
    ]  # fmt: skip
    for words, count in (
        (("--limit", "2"), 2),
        (("--action", "token.create"), 2),
        (("--action", "job"), 0),
        (("--outcome", "refused"), 1),
        (("--target", whole[1]["target"]), 1),
        (("--token", "bootstrap"), 3),
        (("--actor", "ada"), 0),
        (("--since", whole[1]["time"]), 2),
        (("--until", whole[1]["time"]), 1),
    ):
        assert len(json.loads(agon("audit", *words, "--json").out)) == count, words
    shown = agon("audit")
    assert "admin (bootstrap)" in shown.out
    assert "refused, 404" in shown.out
    assert "nothing was changed" in agon("audit", "--actor", "nobody").err


def test_what_is_wrong_is_said_and_nothing_is_printed(agon: Agon, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGON_TOKEN", agon("tokens", "create", "ada").out.strip())
    for words, code, said in (
        (("audit", "--outcome", "perhaps"), 2, "perhaps"),
        (("audit", "--limit", "0"), 2, "limit"),
        (("audit", "--since", "yesterday"), 2, "since"),
        (("audit", "--action", "Job"), 2, "action"),
        (("audit", "--actor", "bob"), 4, "only an administrator"),
        (("audit", "--follow", "--actor", "bob"), 4, "only an administrator"),
        (("events", "--after", "x"), 2, "--after: is no id"),
        (("events", "--kind", "fish"), 2, "fish"),
        (("events", "nope"), 4, "nope"),
        (("events", "nope", "--states"), 2, "without JOB"),
    ):
        found = agon(*words)
        assert (found.code, found.out, said in found.err) == (code, "", True), (words, found)


def test_the_audit_is_followed_until_ctrl_c(agon: Agon, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch, "follow_audit", 2)
    with Client(world.url, world.token) as admin, meanwhile(lambda: admin.create_token("ci")):
        plain = agon("audit", "--follow", "--action", "token")
        as_json = agon("audit", "-f", "--json")
    assert (plain.code, as_json.code) == (0, 0)
    assert [line.split("  ")[1:3] for line in plain.out.splitlines()] == [["admin (bootstrap)", "token.create"]] * 2
    assert [json.loads(line)["action"] for line in as_json.out.splitlines()] == ["token.create"] * 2


def test_who_follows_with_a_token_that_is_revoked_hears_no_more_and_is_told(
    agon: Agon, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(world.url, world.token) as admin, Client(world.url, admin.create_token("ada").token) as ada:
        mine = ada.create_token("mine")

        def revoke() -> None:
            with suppress(NotFound):
                admin.revoke_token(mine.id)

        interrupted(monkeypatch, "follow_audit", 1000, revoke)
        monkeypatch.setenv("AGON_TOKEN", mine.token)
        with meanwhile(lambda: ada.create_token("other")):
            found = agon("audit", "--follow", "--json")
    assert (found.code, "not known here" in found.err) == (4, True)
    assert {json.loads(line)["action"] for line in found.out.splitlines()} == {"token.create"}


def test_all_runs_are_followed_until_ctrl_c_and_one_until_its_end(
    agon: Agon, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(world.url, world.token) as client:
        job = client.submit(recipe="dcgan-digits", set={"name": "seen", "labels.team": "vision"})
        client.cancel(job.id)
        client.wait(job.id)
    (*_, last) = [json.loads(line) for line in agon("events", "seen").out.splitlines()]
    assert (last["kind"], last["data"]["state"]) == ("state", "cancelled")
    interrupted(monkeypatch, "all_events", 1)
    for words in ((), ("--label", "team=vision"), ("--kind", "job", "--owner", "admin")):
        found = agon("events", "--after", "0", "--states", *words)
        (line,) = [json.loads(text) for text in found.out.splitlines()]
        assert (found.code, line["kind"], line["run"]["id"]) == (0, "state", job.id)
