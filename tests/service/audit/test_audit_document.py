"""The example of docs/audit.md is run: it prints what its comments say."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

from pages import ROOT, blocks

import service.client
from service.audit import deeds, witness
from service.client import Client

PAGE = ROOT / "docs" / "audit.md"
(EXAMPLE,) = (block for block in blocks((PAGE,)) if block.language == "python")


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
    exec(compile(EXAMPLE.text, str(EXAMPLE), "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed == re.findall(r"^ +# (admin .*)$", EXAMPLE.text, re.MULTILINE)


def test_the_page_names_actions_and_values_that_there_are() -> None:
    text = PAGE.read_text()
    words = {deed.word for deed in deeds.DEEDS.values()}
    assert set(re.findall(r"`((?:job|token|model)\.[a-z]+)`", text)) <= words
    assert all(f"`{name}`" in text for name in witness.SAID)
