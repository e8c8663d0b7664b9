"""The example of docs/tracing.md is run: it prints what its comments say."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

from pages import ROOT, blocks

import service.client
from service.client import Client

(EXAMPLE,) = (block for block in blocks((ROOT / "docs" / "tracing.md",)) if block.language == "python")


def test_the_example_prints_what_its_comments_say(
    world: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Here(Client):
        """Talks to the API of this test."""

        def __init__(self) -> None:
            super().__init__("http://testserver", "t")
            self._connection.http = world.client

        def close(self) -> None:
            """The API lives as long as the test."""

    monkeypatch.setattr(service.client, "Client", Here)
    monkeypatch.setattr(httpx, "post", world.client.post)
    monkeypatch.setenv("AGON_URL", "http://testserver")
    monkeypatch.setenv("AGON_TOKEN", world.client.headers["Authorization"].partition(" ")[2])
    exec(compile(EXAMPLE.text, str(EXAMPLE), "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed == re.findall(r"print\(.*\)\s+#\s(.*)", EXAMPLE.text)
