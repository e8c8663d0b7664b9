"""The example of docs/fork.md is run: its Python against the API, its shapes from the very nets that it names."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from forks import trained

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

from pages import ROOT, blocks

import service.client
from service.client import Client
from service.gateway.ray_jobs import RayStatus
from service.plans.planner import Planner
from trainer.data.manifest import Shard, dataset_digest
from trainer.origin.nets import expected
from trainer.spec import JobSpec, parse_spec

(EXAMPLE,) = (block for block in blocks((ROOT / "docs" / "fork.md",)) if block.language == "python")


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """What the client sees does not depend on the database."""
    shutil.copy(sqlite_template, tmp_path / "agon.db")
    return f"sqlite:///{tmp_path / 'agon.db'}"


def shapes(spec: JobSpec) -> dict[str, Any]:
    return {f"net/{name}": part.shape for name, part in expected(spec).items()}


def letters(world: Any) -> None:
    """A dataset of twelve classes, as the parent's digits are else."""
    folder = Path(world.settings.data_roots[0]) / "letters"
    folder.mkdir(parents=True)
    (folder / "shard-000000.tar").write_bytes(b"shard")
    shard = Shard(name="shard-000000.tar", samples=12, size=5, sha256="0" * 64)
    classes, counts = tuple("abcdefghijkl"), (1,) * 12
    facts: dict[str, Any] = {"resolution": 28, "channels": 1, "classes": classes, "class_counts": counts}
    facts["resolution"] = world.client.get("/v1/recipes/cgan-digits").json()["spec"]["arch"]["resolution"]
    manifest = {"format": 1, "name": "letters", **facts, "samples": 12, "shards": [shard.model_dump()]}
    manifest["digest"] = dataset_digest(**facts, shards=(shard,))
    (folder / "dataset.json").write_text(json.dumps(manifest))
    reply = world.client.post("/v1/datasets", json={"name": "letters", "url": str(folder)})
    assert reply.status_code == 201, reply.text


def test_the_example_forks_a_finished_job_twice(
    world: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Driven(Client):
        """Talks to the API of this test; whoever waits has the job train to its end."""

        def __init__(self) -> None:
            super().__init__()
            self._connection.http = world.client

        def close(self) -> None:
            """The API lives as long as the test."""

        def wait(self, job: str, *_: Any, **__: Any) -> Any:
            world.round()
            world.ray.move(f"agon-{job}-1", RayStatus.RUNNING)
            world.tell(job, "started", total_images=100_000, workers=2, device="cpu", resumed_from=None)
            raw = self.job(job).spec
            trained(world.folder(job), raw, 1600, images=100_000, shapes=shapes(parse_spec(raw)))
            world.tell(job, "finished", outcome="completed")
            world.ray.move(f"agon-{job}-1", RayStatus.SUCCEEDED)
            world.round()
            return self.job(job)

    monkeypatch.setattr(service.client, "Client", Driven)
    monkeypatch.setenv("AGON_URL", "http://testserver")
    monkeypatch.setenv("AGON_TOKEN", world.settings.token_file.read_text().strip())
    world.client.app.state.context.of(Planner)._shape = lambda spec, **_: expected(spec)
    letters(world)
    exec(compile(EXAMPLE.text, str(EXAMPLE), "exec"), {})
    first, listed, second, known, stretches = capsys.readouterr().out.splitlines()
    assert (first, second, known) == ("state 100000 0", "weights 100000 100000", "True")
    assert stretches == "[(True, 0, 100000), (False, 100000, None)]"
    assert f"# {listed}: " in EXAMPLE.text, "as the comment says"
