"""The example of docs/retention.md is run: it prints what its comments say."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import rows
from checkpoints import best, save

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

from pages import ROOT, blocks

import service.client
from service.client import Client

(EXAMPLE,) = (block for block in blocks((ROOT / "docs" / "retention.md",)) if block.language == "python")


def test_the_example_keeps_what_its_comments_say(
    own: Any, parts: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    spec = {**rows.spec("job"), "checkpoint": {"every_steps": 500, "keep_last": 6, "keep_best": True}}
    job = rows.run(parts.db, name="faces", state="succeeded", spec=spec)
    for step in range(1000, 7000, 1000):
        save(parts.folder(job), step)
    best(parts.folder(job), 3000)

    class Here(Client):
        """Talks to the API of this test."""

        def __init__(self) -> None:
            super().__init__("http://testserver", "t")
            self._connection.http = own

        def close(self) -> None:
            """The API lives as long as the test."""

    monkeypatch.setattr(service.client, "Client", Here)
    monkeypatch.chdir(tmp_path)
    exec(compile(EXAMPLE.text, str(EXAMPLE), "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed == re.findall(r"print\(.*\)\s+#\s(.*)", EXAMPLE.text)
    assert sorted(path.name for path in (tmp_path / "best").iterdir()) == [
        "manifest.json",
        "meta.json",
        "state.safetensors",
    ]
    assert not parts.folder(job).exists()
