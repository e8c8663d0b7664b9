"""A job that trains a trial for longer."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from forks import trained

from service.runs import checkpoints
from trainer.search import parse_search
from trainer.search.space import trial_spec
from trainer.spec import parse_spec
from trainer.spec.identity import identity
from trainer.wire import JobFile


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """Folders, which do not depend on the database."""
    shutil.copy(sqlite_template, tmp_path / "agon.db")
    return f"sqlite:///{tmp_path / 'agon.db'}"


@pytest.fixture
def trial(searches: Any) -> str:
    """Trial 3 of a search that runs, without a checkpoint."""
    search: str = searches.running()
    searches.trial(search, 3, score=1.0, values={"optimizers.G.lr": 0.00123})
    return f"{search}/t-00003"


def checkpoint(world: Any, trial: str, step: int, *, complete: bool = True) -> Path:
    search, _, name = trial.partition("/")
    spec = world.client.get(f"/v1/searches/{search}/trials/{name}").json()["spec"]
    folder = trained(world.folder(search) / "trials" / name, spec, step, images=step)
    if not complete:
        (folder / "manifest.json").unlink()
    return folder


def submit(world: Any, trial: str, **fields: Any) -> Any:
    return world.client.post("/v1/jobs", json={"trial": trial, **fields})


def test_a_trials_job_trains_its_spec_ten_times_as_long(world: Any, trial: str) -> None:
    reply = submit(world, trial, **{"from": "scratch"})
    assert reply.status_code == 201, reply.text
    job = reply.json()
    assert (job["name"], job["trial"]) == ("rates-t00003", trial)
    assert job["spec"]["train"]["images"] == 10_000
    assert job["spec"]["optimizers"]["G"]["lr"] == 0.00123
    assert not world.folder(job["id"]).exists(), "from scratch"
    world.round()
    content = JobFile.model_validate_json((world.folder(job["id"]) / "job.json").read_text())
    assert content.trial == trial
    assert not content.is_trial, "it has a report of its own"
    assert content.model_copy(update={"job_id": trial.replace("/", "-")}).is_trial
    longer = submit(world, trial, **{"from": "scratch", "set": {"train.images": 5000, "name": "mine"}}).json()
    assert (longer["spec"]["train"]["images"], longer["name"]) == (5000, "mine")
    assert world.client.post("/v1/validate", json={"trial": trial}).json() == job["spec"]


def test_from_its_checkpoint_the_newest_complete_one_is_in_the_jobs_folder_before_it_starts(
    world: Any, trial: str
) -> None:
    checkpoint(world, trial, 10)
    source = checkpoint(world, trial, 200)
    checkpoint(world, trial, 3000, complete=False)
    job = submit(world, trial).json()["id"]
    copied = world.folder(job) / "checkpoints"
    assert [path.name for path in copied.iterdir()] == ["step-000000200"]
    assert {path.name: path.read_bytes() for path in (copied / source.name).iterdir()} == {
        path.name: path.read_bytes() for path in source.iterdir()
    }
    assert (copied / source.name / "meta.json").samefile(source / "meta.json"), "not copied where links are possible"
    assert stat.S_IMODE(world.folder(job).stat().st_mode) == 0o700
    assert not [path.name for path in world.settings.jobs_root.iterdir() if path.name.startswith(".")]
    world.round()
    assert world.job(job)["state"] == "starting"


def test_where_links_are_not_possible_the_checkpoint_is_copied(
    world: Any, trial: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: Any, **__: Any) -> None:
        raise PermissionError("no hard links here")

    source = checkpoint(world, trial, 10)
    monkeypatch.setattr(checkpoints.os, "link", no_link)
    job = submit(world, trial).json()["id"]
    copy = world.folder(job) / "checkpoints" / source.name / "meta.json"
    assert copy.read_bytes() == (source / "meta.json").read_bytes()
    assert not copy.samefile(source / "meta.json")


def test_without_a_complete_checkpoint_it_is_refused_with_the_way_out(world: Any, trial: str) -> None:
    checkpoint(world, trial, 10, complete=False)
    reply = submit(world, trial)
    assert reply.status_code == 409
    assert '"from": "scratch"' in reply.json()["detail"]
    assert world.client.get("/v1/jobs").json()["items"] == []
    assert [path.name for path in world.settings.jobs_root.iterdir()] == [trial.partition("/")[0]], "nothing is left"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"train.batch": 128}, "train.batch"),
        ({"optimizers": {"G": {"lr": 1e-5}}}, "optimizers.G.lr"),
        ({"arch.g_width": 40}, "arch.g_width"),
        ({"ema": None}, "ema.decay"),
        ({"data.lanes": 4}, "data.lanes"),
        ({"train.seed": 7}, "train.seed"),
    ],
)
def test_what_a_checkpoint_depends_on_changes_only_from_scratch(
    world: Any, trial: str, changes: dict[str, Any], path: str
) -> None:
    checkpoint(world, trial, 10)
    refused = submit(world, trial, set=changes)
    assert refused.status_code == 422
    errors = refused.json()["errors"]
    assert path in [error["path"] for error in errors]
    assert all("scratch" in error["fix"] for error in errors)
    assert submit(world, trial, set=changes, **{"from": "scratch"}).status_code == 201
    harmless = {"train.images": 10**6, "train.micro_batch": 8, "evaluation.every_steps": 50, "resources.workers": 2}
    assert submit(world, trial, set=harmless).status_code == 201


def test_a_trials_own_spec_has_the_identity_of_the_job_that_goes_on_with_it(
    world: Any, searches: Any, trial: str
) -> None:
    search = parse_search(searches.show(trial.partition("/")[0])["search"])
    job = world.client.post("/v1/validate", json={"trial": trial}).json()
    assert identity(parse_spec(job)) == identity(trial_spec(search, {"optimizers.G.lr": 0.00123}, 3))


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"trial": "s-000000000000/t-00003"}, "trial"),
        ({"trial": "{search}/t-00009"}, "trial"),
        ({"trial": "{search}"}, "trial"),
        ({"trial": "../../etc/t-00003"}, "trial"),
        ({"trial": "{search}/t-00003", "from": "elsewhere"}, "from"),
        ({"trial": "{search}/t-00003", "recipe": "dcgan-digits"}, ""),
        ({"recipe": "dcgan-digits", "from": "scratch"}, ""),
    ],
)
def test_a_request_for_no_such_trial_is_refused(world: Any, trial: str, body: dict[str, Any], path: str) -> None:
    search = trial.partition("/")[0]
    reply = world.client.post("/v1/jobs", json={key: value.format(search=search) for key, value in body.items()})
    assert (reply.status_code, reply.json()["errors"][0]["path"]) == (422, path), reply.text


def test_a_repeated_key_makes_one_job_and_one_folder(world: Any, trial: str) -> None:
    checkpoint(world, trial, 10)
    headers = {"Idempotency-Key": "k"}
    made = [world.client.post("/v1/jobs", json={"trial": trial}, headers=headers).json()["id"] for _ in range(2)]
    assert made[0] == made[1]
    assert {path.name for path in world.settings.jobs_root.iterdir()} == {made[0], trial.partition("/")[0]}
