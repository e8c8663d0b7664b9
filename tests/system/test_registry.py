"""The model registry for real: an MLflow server, versions from packages, the gate, and loading by name elsewhere."""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from embedded import Stack
from forked import free_port
from typer.testing import CliRunner

from trainer.checksums import write_checksums
from trainer.data.stream import open_dataset
from trainer.engine.distributed import Distributed
from trainer.engine.sampling import sample
from trainer.engine.state import TrainState
from trainer.families.table import recipes
from trainer.publish import PublishError, build_package
from trainer.publish.__main__ import app
from trainer.publish.card import Lineage
from trainer.publish.registry import register
from trainer.report.__main__ import app as report
from trainer.spec import Publish
from trainer.wire import JobFile

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("stack")]

ISOLATED = """
import hashlib, json, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("trainer", "service"):
            raise ImportError(f"{name} must not be needed")
sys.meta_path.insert(0, Block())
sys.path = [entry for entry in sys.path if entry]
import mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
images = model.predict({"n": 6, "seed": 11})
again = model.predict({"n": 6, "seed": 11})
other = model.predict({"n": 6, "seed": 12})
print(json.dumps({
    "shape": images.shape, "dtype": str(images.dtype), "digest": hashlib.sha256(images.tobytes()).hexdigest(),
    "same": bool((images == again).all()), "other": bool((images != other).any()),
    "project": [name for name in sys.modules if name.partition(".")[0] in ("trainer", "service")],
}))
"""


@pytest.fixture
def mlflow_url(stack: Stack) -> str:
    return stack.mlflow


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A generator (of initial weights), its data, and a maker of packages with any score."""
    folder = tmp_path_factory.mktemp("trained")
    spec = recipes()["dcgan-digits"]()
    spec = spec.replace(
        arch=spec.arch.replace(g_width=4, d_width=4, resolution=8),
        resources=spec.resources.replace(workers=1),
        publish=Publish(model="digits"),
    )
    dataset = open_dataset(spec, cache_dir=folder / "cache")
    state = TrainState.create(spec, Distributed.create(spec, world=1))

    lineage = Lineage("base", 1, 64, dataset.manifest.digest, spec.digest(), "test")
    base = build_package(state, folder / "model", dataset=dataset, scores={}, provenance={}, lineage=lineage)

    def package(job_dir: Path, score: float, dataset_digest: str = "d" * 64) -> Path:
        basis = {"extractor_digest": "e" * 64, "dataset_digest": dataset_digest, "samples": 100, "real_samples": 90}
        shutil.copytree(base, job_dir / "model")
        record = json.loads((base / "scores.json").read_text()) | {"scores": {"fid": score}, "provenance": basis}
        (job_dir / "model/scores.json").write_text(json.dumps(record))
        write_checksums(job_dir / "model")
        return job_dir / "model"

    return state, package


@pytest.fixture
def submit(trained, mlflow_url, tmp_path):
    """Registers a package of a new job: (job id, score) → what became of it."""
    state, package = trained

    def run(job_id: str, score: float, model: str, gate: str = "better", **basis):
        spec = state.spec.replace(publish=Publish(model=model, gate=gate))
        job_dir = tmp_path / job_id
        job = JobFile(
            job_id=job_id, attempt=1, spec=spec, job_dir=str(job_dir), cache_dir=str(tmp_path), mlflow_uri=mlflow_url
        )
        return register(job, package(job_dir, score, **basis)), job

    return run


def champion(url: str, model: str) -> str:
    from mlflow import MlflowClient

    return str(MlflowClient(url, url).get_model_version_by_alias(model, "champion").version)


def versions(url: str, model: str) -> list[str]:
    from mlflow import MlflowClient

    return sorted(str(found.version) for found in MlflowClient(url, url).search_model_versions(f"name = '{model}'"))


def test_the_champion_moves_to_a_better_version_alone(submit, mlflow_url):
    first, _ = submit("job-1", 20.0, "moves")
    worse, _ = submit("job-2", 25.0, "moves")
    assert (first.champion, worse.champion) == (True, False)
    assert champion(mlflow_url, "moves") == first.version
    assert "fid 25 against 20 of version 1" in worse.verdict
    better, _ = submit("job-3", 15.0, "moves")
    assert better.champion
    assert champion(mlflow_url, "moves") == better.version
    elsewhere, _ = submit("job-4", 1.0, "moves", dataset_digest="f" * 64)
    assert not elsewhere.champion
    assert "can't be compared" in elsewhere.verdict
    broken, _ = submit("job-5", float("nan"), "moves")
    assert not broken.champion
    assert champion(mlflow_url, "moves") == better.version


def test_a_restarted_job_publishes_once(submit, mlflow_url):
    first, job = submit("job-again", 20.0, "once")
    assert register(job, Path(job.job_dir) / "model") == first
    assert versions(mlflow_url, "once") == ["1"]


def test_a_job_that_died_between_version_and_verdict_finishes_the_gate(submit, mlflow_url):
    from mlflow import MlflowClient

    first, job = submit("job-died", 20.0, "halfway")
    client = MlflowClient(mlflow_url, mlflow_url)
    client.delete_model_version_tag("halfway", first.version, "agon.verdict")
    client.delete_registered_model_alias("halfway", "champion")
    assert register(job, Path(job.job_dir) / "model").champion
    assert champion(mlflow_url, "halfway") == first.version
    assert versions(mlflow_url, "halfway") == ["1"]


def test_a_version_says_what_it_is_and_where_it_is_from(submit, mlflow_url):
    from mlflow import MlflowClient

    done, _ = submit("job-tags", 20.0, "tags")
    version = MlflowClient(mlflow_url, mlflow_url).get_model_version("tags", done.version)
    assert version.tags["agon.job_id"] == "job-tags"
    assert version.tags["agon.score.fid"] == "20.0"
    assert version.tags["agon.dataset_digest"] == "d" * 64
    assert version.tags["agon.extractor_digest"] == "e" * 64
    assert version.tags["agon.verdict"] == done.verdict
    assert version.run_id
    assert version.description.startswith("# digits")


@pytest.mark.long
def test_another_program_loads_by_alias_without_the_project_and_without_pickle(submit, trained, mlflow_url, tmp_path):
    submit("job-load", 20.0, "loaded")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "PYTHON"))},
        "MLFLOW_TRACKING_URI": mlflow_url,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    done = subprocess.run(
        [sys.executable, "-I", "-c", ISOLATED, "models:/loaded@champion"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    state, _ = trained
    ours = sample(state.family, state.spec.arch, state.generator, n=6, seed=11)
    assert found["shape"] == [6, 8, 8, 1]
    assert found["dtype"] == "uint8"
    assert found["same"]
    assert found["other"]
    assert found["project"] == []
    assert found["digest"] == hashlib.sha256(ours.tobytes()).hexdigest()


def test_pull_verifies_and_sample_draws_from_the_registry(submit, mlflow_url, tmp_path, monkeypatch):
    from PIL import Image

    submit("job-pull", 20.0, "pulled")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    cli, out = CliRunner(), tmp_path / "here"
    assert cli.invoke(app, ["pull", "pulled", str(out)]).exit_code == 0
    assert {"generator.py", "model.safetensors", "program.pt2", "card.md", "MLmodel"} <= {p.name for p in out.iterdir()}
    pictures = [tmp_path / "registry.png", tmp_path / "folder.png"]
    for source, picture in zip(("models:/pulled/1", str(out)), pictures, strict=True):
        done = cli.invoke(
            app, ["sample", source, "-n", "20", "--labels", "balanced", "--seed", "4", "--out", str(picture)]
        )
        assert done.exit_code == 0, done.output
    first, second = (np.asarray(Image.open(picture)) for picture in pictures)
    assert (first == second).all()
    missing = cli.invoke(app, ["pull", "nobody", str(tmp_path / "nobody")])
    assert missing.exit_code == 1
    assert "nobody" in missing.output
    assert not (tmp_path / "nobody").exists()


@pytest.mark.long
def test_a_registered_models_report_is_made_by_name_alias_and_version_and_opens_offline(
    submit, mlflow_url, tmp_path, monkeypatch
):
    """Without the training data: what needs them is left out, saying so, and costs nothing here."""
    submit("job-shown", 20.0, "shown")
    submit("job-hidden", 30.0, "shown")  # version 2, which is no champion
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    without = ["--data", str(tmp_path / "nowhere"), "--quick", "--cache-dir", str(tmp_path / "cache")]
    for name, score in (("shown", 20), ("shown@champion", 20), ("shown/2", 30)):
        done = CliRunner().invoke(report, [name, "--out", str(tmp_path / "page"), *without])
        assert done.exit_code == 0, done.output
        page = (tmp_path / "page" / "report.html").read_text()
        assert f"<h1>{name}</h1>" in page
        assert f"<b>{score}</b><span>fid" in page
        assert "the training data can't be read" in html.unescape(page)
        linked = re.findall(r"""(?:src|srcset|href|poster)\s*=\s*["']?([^"'\s>]+)""", page)
        linked += re.findall(r"url\(\s*([^)]+)\)", page)
        assert any(link.startswith("data:image/") for link in linked)
        assert [link[:80] for link in linked if not link.startswith(("data:", "#"))] == []
    nobody = CliRunner().invoke(report, ["nobody@champion", "--out", str(tmp_path / "none"), *without])
    assert nobody.exit_code == 1
    assert "models:/nobody@champion can't be pulled" in nobody.output


def test_while_mlflow_is_away_the_package_stays_and_can_be_registered_later(trained, mlflow_url, tmp_path, monkeypatch):
    state, package = trained
    monkeypatch.setattr("trainer.publish.registry.DELAYS", (0.0,))
    job_dir = tmp_path / "job-away"
    job = JobFile(
        job_id="job-away",
        attempt=1,
        spec=state.spec,
        job_dir=str(job_dir),
        cache_dir=str(tmp_path),
        mlflow_uri=f"http://127.0.0.1:{free_port()}",
    )
    built = package(job_dir, 20.0)
    with pytest.raises(PublishError, match="training is complete and the package is in"):
        register(job, built)
    assert (built / "model.safetensors").is_file()
    (job_dir / "job.json").write_text(job.model_copy(update={"mlflow_uri": mlflow_url}).model_dump_json())
    done = CliRunner().invoke(app, ["register", str(job_dir)])
    assert done.exit_code == 0, done.output
    assert "version 1 is champion" in done.output
