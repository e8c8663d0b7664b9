"""N steps + restart + M steps = N + M steps, bit for bit, for every family, at 1 and 2 workers, killed by SIGKILL."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from resume_workers import Death, attempt, small, train

from trainer.checkpoint import latest, read, step_path
from trainer.families.table import NAMES, recipes


def one_recipe_each() -> list[str]:
    """A recipe of every registered family, and one with a penalty, which draws random numbers of its own."""
    found = {recipe().arch.family: name for name, recipe in reversed(recipes().items())}
    assert set(found) == set(NAMES)
    return [*found.values(), "wgan-gp-digits"]


def digest(directory: Path, step: int) -> str:
    return hashlib.sha256((step_path(directory, step) / "state.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("recipe", one_recipe_each())
def test_a_training_goes_on_from_a_checkpoint_with_the_same_bits(tmp_path, cache, recipe):
    """In one process, whose global generators stand elsewhere then."""
    spec = small(recipe, 1)
    whole, again = tmp_path / "whole", tmp_path / "again"
    assert attempt(spec, whole, cache) == {"first": 0, "steps": 10}
    shutil.copytree(step_path(whole, 6), step_path(again, 6))
    torch.manual_seed(99)
    assert attempt(spec, again, cache) == {"first": 6, "steps": 4}
    assert digest(again, 10) == digest(whole, 10)
    assert read(step_path(again, 10))[1] == read(step_path(whole, 10))[1]


KILLED_AT_ONCE = [("gan-digits", 2)]
"""What `make test` kills: one of two workers. The others follow in `make test-long`."""


@pytest.mark.parametrize(
    ("recipe", "workers"),
    [
        case if case in KILLED_AT_ONCE else pytest.param(*case, marks=pytest.mark.long)
        for case in ((recipe, workers) for recipe in one_recipe_each() for workers in (1, 2))
    ],
)
@pytest.mark.timeout(600)
def test_a_killed_and_restarted_training_ends_with_the_same_bits(tmp_path, cache, recipe, workers):
    spec = small(recipe, workers)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert [report["steps"] for report in train(spec, whole, cache)] == [10] * workers

    victim = workers - 1
    train(spec, broken, cache, Death(rank=victim, update=8))  # in the middle of step 8, D has stepped, G has not
    assert latest(broken) in (step_path(broken, 6), step_path(broken, 3))  # 6 may still have been under way
    # In the middle of writing the next checkpoint: its state is on disk, its manifest is not.
    train(spec, broken, cache, Death(rank=0, sync=2))
    before = int(latest(broken).name.removeprefix("step-"))
    reports = train(spec, broken, cache)
    assert {report["first"] for report in reports} == {before}
    assert {report["steps"] for report in reports} == {10 - before}
    assert before >= 3
    assert digest(broken, 10) == digest(whole, 10)
    for name, value in read(step_path(whole, 10))[1].items():
        assert read(step_path(broken, 10))[1][name] == value, name
    assert not list(broken.glob(".writing*"))


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.timeout(600)
def test_a_training_paused_between_checkpoints_killed_and_paused_again_ends_with_the_same_bits(
    tmp_path, cache, workers
):
    """The recipe whose penalty draws random numbers of its own. Checkpoints are due at 3, 6 and 9."""
    spec = small("wgan-gp-digits", workers)
    whole, paused = tmp_path / "whole", tmp_path / "paused"
    train(spec, whole, cache)
    train(spec, paused, cache, pause=3)
    saved = latest(paused)
    assert saved == step_path(paused, 4), "all ranks stopped at one step, and saved there"
    train(spec, paused, cache, Death(rank=workers - 1, update=3))
    again = train(spec, paused, cache, pause=6)
    assert {report["first"] for report in again} <= {4, 6}
    stopped = int(latest(paused).name.removeprefix("step-"))
    assert stopped in (7, 8), "the ranks agree at the next tick at the latest"
    last = train(spec, paused, cache)
    assert {(report["first"], report["steps"]) for report in last} == {(stopped, 10 - stopped)}
    assert digest(paused, 10) == digest(whole, 10)
    for name, value in read(step_path(whole, 10))[1].items():
        assert read(step_path(paused, 10))[1][name] == value, name


@pytest.mark.parametrize("sync", [*(pytest.param(n, marks=pytest.mark.long) for n in (1, 2, 4)), 3, 5])
def test_death_at_any_point_of_a_write_costs_at_most_that_checkpoint(tmp_path, cache, sync):
    spec = small("gan-digits", 1)
    train(spec, tmp_path, cache, Death(sync=5 + sync))  # the second checkpoint's writing
    found = latest(tmp_path)
    assert found == step_path(tmp_path, 6 if sync == 5 else 3)
    assert read(found)[1]["clock"]["step"] == (6 if sync == 5 else 3)
