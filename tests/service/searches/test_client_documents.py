"""The documents' Python that talks to the API is run against it, with a Ray and a registry that a test drives."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from forks import trained

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

from pages import ROOT, Block, blocks

import service.client
from service.client import Client
from service.gateway.ray_jobs import RayStatus
from service.settings import Settings

OWN = (
    "access.md",
    "audit.md",
    "fork.md",
    "logs.md",
    "queue.md",
    "retention.md",
    "serving.md",
    "threats.md",
    "tracing.md",
)
"""Whose examples have tests of their own: test_fork_document.py, test_logs_document.py, test_queue_document.py, …"""
EXAMPLES = [
    block
    for block in blocks()
    if block.language == "python" and "service.client" in block.text and block.page.name not in OWN
]


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """What the client sees does not depend on the database."""
    shutil.copy(sqlite_template, tmp_path / "agon.db")
    return f"sqlite:///{tmp_path / 'agon.db'}"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With a registry, which is a fake here."""
    return settings.model_copy(update={"mlflow_uri": "http://127.0.0.1:1"})


@pytest.fixture
def driven(world: Any, searches: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """`Client` talks to the API of this test; whoever waits has the job or search run to its end. Returns the ended ones."""
    ended: list[str] = []

    class Driven(Client):
        def __init__(self) -> None:
            super().__init__()
            self._connection.http = world.client

        def close(self) -> None:
            """The API lives as long as the test."""

        def pause(self, job: str) -> Any:
            """One that has not started."""
            super().pause(job)
            world.round()
            return self.job(job)

        def wait(self, job: str, *_: Any, **__: Any) -> Any:
            """A job that trains and publishes in no time."""
            world.round()
            world.ray.move(f"agon-{job}-1", RayStatus.RUNNING)
            world.tell(job, "started", total_images=1000, workers=2, device="cpu", resumed_from=None)
            world.tell(job, "published", model="digits", version="1", champion=True, verdict="no champion yet")
            world.tell(job, "finished", outcome="completed")
            world.ray.move(f"agon-{job}-1", RayStatus.SUCCEEDED)
            world.round()
            ended.append(job)
            return self.job(job)

        def wait_search(self, search: str, *_: Any, **__: Any) -> Any:
            """A search with one trial that has a score and a checkpoint."""
            world.round()
            searches.begin(search)
            searches.trial(search, 3, score=1.0, state="completed", values={})
            spec = self.trial(search, "t-00003").spec
            trained(world.folder(search) / "trials" / "t-00003", spec, 10)
            searches.end(search, outcome="completed")
            ended.append(search)
            return self.get_search(search)

    monkeypatch.setattr(service.client, "Client", Driven)
    monkeypatch.setenv("AGON_URL", "http://testserver")
    monkeypatch.setenv("AGON_TOKEN", world.settings.token_file.read_text().strip())
    monkeypatch.chdir(tmp_path)
    (search,) = (block.text for block in blocks((ROOT / "docs" / "searches.md",)) if block.language == "yaml")
    Path("search.yaml").write_text(search)
    return ended


@pytest.mark.parametrize("block", EXAMPLES, ids=str)
def test_an_example_of_the_client_runs_to_its_end(
    driven: list[str], world: Any, block: Block, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {}
    exec(compile(block.text, str(block), "exec"), given)
    assert len(driven) == 1
    if "print(" in block.text:
        assert capsys.readouterr().out.startswith("succeeded name='digits' version='1'")
    else:
        (job,) = world.client.get("/v1/jobs").json()["items"]
        assert job["trial"] == f"{driven[0]}/t-00003"
