"""Forks of a registered model's version, and of a package."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from forks import state, trained

from service.plans.planner import Planner
from service.settings import Settings
from trainer.families.table import recipes
from trainer.origin.nets import expected
from trainer.spec import dump_spec

SPEC = recipes()["dcgan-digits"]()


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """Folders and a registry, which do not depend on the database."""
    shutil.copy(sqlite_template, tmp_path / "agon.db")
    return f"sqlite:///{tmp_path / 'agon.db'}"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With a registry, which is a fake here."""
    return settings.model_copy(update={"mlflow_uri": "http://127.0.0.1:1"})


def fork(world: Any, changes: dict[str, Any] | None = None, **fields: Any) -> Any:
    return world.client.post("/v1/jobs", json={"from": fields, "set": changes or {}})


# -- a registered model


@pytest.fixture
def parent(world: Any) -> str:
    """A job whose checkpoint of step 10 became version 2 of `digits`, and which has a later one."""
    job = str(world.running())
    for step in (10, 12):
        trained(world.folder(job), world.job(job)["spec"], step)
    world.registry.add("digits", {"agon.job_id": "local-digits"})
    world.registry.add("digits", {"agon.job_id": job, "agon.step": "10"})
    world.registry.set_alias("digits", "champion", "2")
    return job


def test_a_version_is_forked_by_its_number_or_an_alias_at_the_step_that_it_was_made_of(world: Any, parent: str) -> None:
    for asked in ({}, {"version": "2"}, {"version": 2}, {"version": "champion"}):
        reply = fork(world, model="digits", **asked)
        assert reply.status_code == 201, reply.text
        job = reply.json()
        assert (job["parent"], job["fork"]["job"]) == (parent, parent)
        assert (job["fork"]["model"], job["fork"]["step"]) == ("digits/2", 10)
    weights = fork(world, {"train.batch": 128}, model="digits", mode="weights")
    assert weights.json()["fork"]["mode"] == "weights"
    assert fork(world, {"train.batch": 128}, model="digits").json()["errors"][0]["path"] == "train.batch"


def test_a_searchs_best_is_forked_as_its_trial(world: Any) -> None:
    base = {"recipe": "dcgan-digits", "set": {"train.images": 1000}}
    raw = {"name": "rates", "base": base, "space": {"optimizers.G.lr": {"loguniform": [1e-5, 1e-2]}}, "trials": 4}
    search = world.client.post("/v1/searches", json={"search": {**raw, "algorithm": "random"}}).json()["id"]
    world.round()
    told = {"id": "t-00003", "number": 3, "state": "running", "values": {"optimizers.G.lr": 0.001}}
    world.tell(search, "trial", **told, images=640, seconds=1.0, result=None)
    trial = f"{search}/t-00003"
    spec = world.client.get(f"/v1/searches/{search}/trials/t-00003").json()["spec"]
    trained(world.folder(search) / "trials" / "t-00003", spec, 500, images=500)
    world.registry.add("best", {"agon.job_id": f"{search}-best-t-00003-500", "agon.trial": trial})
    job = fork(world, model="best", version="1").json()
    assert (job["parent"], job["trial"], job["fork"]["step"]) == (search, trial, 500)
    gone = world.registry.add("best", {"agon.job_id": f"{search}-best-t-00003-900", "agon.trial": trial})
    refused = fork(world, model="best", version=gone.version)
    assert refused.status_code == 409
    assert "no checkpoint of step 900; it has those of step 500" in refused.json()["detail"]


def test_versions_that_nobody_here_trained_or_that_are_not_there_are_refused(world: Any, parent: str) -> None:
    for fields, path, said in (
        ({"model": "nothing"}, "from.model", "not found"),
        ({"model": "digits", "version": "9"}, "from.version", "no such version or alias"),
        ({"model": "digits", "version": "best"}, "from.version", "no such version or alias"),
        ({"model": "digits", "version": "1"}, "from.model", "was trained by no job of this API"),
        ({"model": "../digits"}, "from.model", ""),
        ({"model": "digits", "version": "1/../2"}, "from.version", ""),
        ({"model": "digits", "checkpoint": 10}, "from", "checkpoint goes with job or trial"),
        ({"job": parent, "version": "1"}, "from", "version goes with model"),
    ):
        reply = fork(world, **fields)
        assert reply.status_code == 422, reply.text
        error = reply.json()["errors"][0]
        assert (error["path"], said in error["message"]) == (path, True), error
    world.registry.add("gone", {"agon.job_id": "j-000000000000"})
    assert fork(world, model="gone", version="1").json()["errors"][0]["path"] == "from.job"
    world.registry.unreachable = True
    assert fork(world, model="digits").status_code == 503


# -- a package


SHAPES = {"a.weight": [3, 2], "a.bias": [3]}


def packaged(folder: Path, **files: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    contents = {f"{name}.safetensors": state(shapes) for name, shapes in files.items()}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "spec.yaml").write_text(dump_spec(SPEC))
    (folder / "config.json").write_text("{}")
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    (folder / "checksums.json").write_text(json.dumps(sums))
    return folder


def test_a_package_below_a_data_root_is_forked_with_its_spec(world: Any) -> None:
    root = Path(world.settings.data_roots[0])
    path = packaged(root / "birds", model=SHAPES, discriminator={"head.weight": [1, 3]})
    reply = fork(world, {"train.images": 5000}, package="birds", mode="weights")
    assert reply.status_code == 201, reply.text
    job = reply.json()
    assert (job["parent"], job["fork"]["job"], job["fork"]["package"]) == (None, None, str(path))
    assert (job["fork"]["offset"], job["name"], job["spec"]["train"]["images"]) == (0, "dcgan-digits", 5000)
    held = world.folder(job["id"]) / "origin" / "step-000000000"
    assert {file.name for file in held.iterdir()} == {"state.safetensors", "meta.json", "manifest.json"}
    lineage = world.client.get(f"/v1/jobs/{job['id']}/lineage").json()
    assert lineage == {"ancestors": [], "children": [], "next_cursor": None}
    shutil.rmtree(path)
    assert held.exists(), "it is the job's own"


def test_packages_elsewhere_damaged_or_taken_as_a_state_are_refused(world: Any, tmp_path: Path) -> None:
    root = Path(world.settings.data_roots[0])
    outside = packaged(tmp_path / "outside", model=SHAPES)
    (root / "link").symlink_to(outside)
    linked = packaged(root / "linked", model=SHAPES)
    (linked / "model.safetensors").unlink()
    (linked / "model.safetensors").symlink_to(outside / "model.safetensors")
    before = {path.name for path in world.settings.jobs_root.glob("*")}
    for path in (str(outside), "link", "linked", "../outside", "https://example.com/birds", "pipe:cat"):
        reply = fork(world, package=path, mode="weights")
        assert reply.status_code == 422, (path, reply.text)
        assert reply.json()["errors"][0]["path"] == "from.package"
    packaged(root / "altered", model=SHAPES)
    (root / "altered" / "model.safetensors").write_bytes(state({"a.weight": [4, 2], "a.bias": [3]}))
    for path in ("altered", "nowhere"):
        reply = fork(world, package=path, mode="weights")
        assert (reply.status_code, "package" in reply.json()["detail"]) == (409, True), reply.text
    packaged(root / "whole", model=SHAPES)
    reply = fork(world, package="whole")
    assert "weights alone" in reply.json()["errors"][0]["message"]
    assert {path.name for path in world.settings.jobs_root.glob("*")} == before


def test_a_package_without_d_is_taken_if_d_may_start_anew(world: Any) -> None:
    told = expected(SPEC)
    world.client.app.state.context.of(Planner)._shape = lambda spec, **_: told
    shapes = {name.removeprefix("G/"): list(part.shape) for name, part in told.items() if name.startswith("G/")}
    packaged(Path(world.settings.data_roots[0]) / "alone", model=shapes)
    errors = fork(world, package="alone", mode="weights").json()["errors"]
    assert {error["path"] for error in errors} == {
        name for name in told if name.startswith("D/") and told[name].parameter
    }
    body = {"from": {"package": "alone", "mode": "weights", "restart": ["D"]}}
    assert world.client.post("/v1/validate", json=body).status_code == 200
    assert world.client.post("/v1/jobs", json=body).status_code == 201
