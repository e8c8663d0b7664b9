"""The example of docs/logs.md is run: it prints what its comments say."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

from pages import ROOT, blocks

import service.client
from service.client import Client
from service.gateway.ray_jobs import RayStatus

(EXAMPLE,) = (block for block in blocks((ROOT / "docs" / "logs.md",)) if block.language == "python")
HEAD = "--- rank {} of 2, attempt 1: process 71 on node-3, 2026-11-29T16:52:49+00:00 ---\n"


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """What the client sees does not depend on the database."""
    shutil.copy(sqlite_template, tmp_path / "agon.db")
    return f"sqlite:///{tmp_path / 'agon.db'}"


def test_the_example_finds_what_a_killed_worker_said_last(
    world: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    job = world.running(name="faces", resources={"workers": 2}, retry={"attempts": 1})
    said = {0: "starting: faces\nhost memory: 97 % used\n", 1: "training begins at step 0, 0 images\n"}
    said[1] += "step 41200, 2,636,800 images, 812 images/s\n"
    for rank, text in said.items():
        path = world.folder(job) / f"logs/attempt-1/rank-{rank:05d}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEAD.format(rank) + text)
    world.tell(job, "failed", kind="worker-lost", reason="worker 1 was lost", rank=1)
    world.ray.move(f"agon-{job}-1", RayStatus.FAILED)
    world.round()
    world.round()

    class Here(Client):
        """Talks to the API of this test."""

        def __init__(self) -> None:
            super().__init__("http://testserver", "t")
            self._connection.http = world.client

        def close(self) -> None:
            """The API lives as long as the test."""

    monkeypatch.setattr(service.client, "Client", Here)
    monkeypatch.chdir(tmp_path)
    exec(compile(EXAMPLE.text, str(EXAMPLE), "exec"), {})
    printed = [line for line in capsys.readouterr().out.splitlines() if line]
    said_of_it = re.findall(r"print\(.*#\s(.*)", EXAMPLE.text)
    assert printed == said_of_it
    assert (tmp_path / "logs.tar").stat().st_size > 0
