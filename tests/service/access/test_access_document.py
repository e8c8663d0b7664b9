"""The example of docs/access.md is run: it prints what its comments say."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

from pages import ROOT, blocks

import service.client
from service.client import Client

PAGE = ROOT / "docs" / "access.md"
(EXAMPLE,) = (block for block in blocks((PAGE,)) if block.language == "python")


def test_the_example_prints_what_its_comments_say(
    house: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Here(Client):
        """Talks to the API of this test."""

        def __init__(self, url: str | None = None, token: str | None = None) -> None:
            mine = house.admin if token is None else {"Authorization": f"Bearer {token}"}
            super().__init__("http://testserver", "t")
            self._connection.http = TestClient(house.app, headers=mine)

        def close(self) -> None:
            """The API lives as long as the test."""

    monkeypatch.setattr(service.client, "Client", Here)
    exec(compile(EXAMPLE.text, str(EXAMPLE), "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed == re.findall(r"print\(.*\)\s+#\s(.*)", EXAMPLE.text)
    assert len(printed) == 6


def test_a_session_goes_as_its_example_says(house: Any) -> None:
    (example,) = (block.text for block in blocks((PAGE,)) if block.language == "text")
    begun, asked, ended = example.splitlines()
    browser = TestClient(house.app, headers={"Authorization": ""})
    reply = browser.post("/v1/session", headers=house.person("ada"))
    assert (begun.split()[0], f" {reply.status_code} " in begun) == ("POST", True)
    assert {"HttpOnly", "SameSite=strict"} <= set(reply.headers["set-cookie"].split("; ")) & set(begun.split("; "))
    reply = browser.get("/v1/session")
    assert f" {reply.status_code} " in asked
    assert str({key: reply.json()[key] for key in ("owner", "scope", "by")}).replace("'", '"')[:-1] in asked
    reply = browser.delete("/v1/session", headers={"Sec-Fetch-Site": "same-origin"})
    assert f" {reply.status_code}" in ended
    assert "Sec-Fetch-Site: same-origin" in ended
    assert browser.get("/v1/session").status_code == 401
