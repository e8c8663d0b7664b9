"""The example of docs/queue.md is run on a cluster of four CPUs: it prints what its comments say."""

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
from service.gateway.ray_jobs import Node, RayStatus

(EXAMPLE,) = (block for block in blocks((ROOT / "docs" / "queue.md",)) if block.language == "python")


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """What the client sees does not depend on the database."""
    shutil.copy(sqlite_template, tmp_path / "agon.db")
    return f"sqlite:///{tmp_path / 'agon.db'}"


class Cluster:
    """Drivers that train as soon as they are started, save as soon as they are asked to, and end when they are waited for."""

    def __init__(self, world: Any) -> None:
        self.world, self.reconciler, self.train = world, world.reconciler(), set[str]()

    def settle(self) -> None:
        """Let what is decided come about."""
        for _ in range(3):
            self.world.clock.forward(6.0)
            self.reconciler.round()
            for name in set(self.world.ray.starts) - self.train:
                self.train.add(name)
                job, attempt = self._parts(name)
                self.world.ray.move(name, RayStatus.RUNNING)
                self.world.tell(job, "started", attempt, total_images=1000, workers=self._workers(job))
                self.world.tell(job, "progress", attempt, eta_seconds=3600.0, total_images=1000, images_per_second=1.0)
            self._use()

    def leave(self, job: str, outcome: str) -> None:
        """Its driver ends."""
        attempt = self.world.job(job)["attempt"]
        self.world.tell(job, "finished", attempt, outcome=outcome)
        self.world.ray.move(f"agon-{job}-{attempt}", RayStatus.SUCCEEDED)
        self._use()
        self.settle()

    def _use(self) -> None:
        running = [name for name, job in self.world.ray.jobs.items() if not job.status.ended]
        taken = sum(self._workers(self._parts(name)[0]) for name in running)
        self.world.ray.cluster = [Node("n", 4, 4 - taken)]

    def _workers(self, job: str) -> int:
        return int(self.world.job(job)["spec"]["resources"]["workers"])

    @staticmethod
    def _parts(name: str) -> tuple[str, int]:
        job, attempt = name.removeprefix("agon-").rsplit("-", 1)
        return job, int(attempt)


def test_the_example_has_room_made_and_loses_nothing(
    world: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(world)

    class Driven(Client):
        """Talks to the API of this test, on which something happens between two looks."""

        def __init__(self) -> None:
            super().__init__()
            self._connection.http = world.client

        def close(self) -> None:
            """The API lives as long as the test."""

        def job(self, job: str) -> Any:
            cluster.settle()
            return super().job(job)

        def wait(self, job: str, *_: Any, **__: Any) -> Any:
            for other in world.client.get("/v1/jobs", params={"state": "stopping"}).json()["items"]:
                cluster.leave(other["id"], "stopped")
            cluster.leave(job, "completed")
            return super().job(job)

    monkeypatch.setattr(service.client, "Client", Driven)
    monkeypatch.setenv("AGON_URL", "http://testserver")
    monkeypatch.setenv("AGON_TOKEN", world.settings.token_file.read_text().strip())
    exec(compile(EXAMPLE.text, str(EXAMPLE), "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed == re.findall(r"print\(.*\)\s+#\s(.*)", EXAMPLE.text)
