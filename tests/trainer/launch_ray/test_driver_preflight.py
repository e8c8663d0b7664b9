"""A job that can't fit the cluster fails before it trains, with the micro-batch that would; a plan that fails stops nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from forks import trained

from service.plans.fake import FakeMake
from trainer.families.table import recipes
from trainer.launch import driver, preflight
from trainer.launch.driver import Launch
from trainer.origin.fit import Part
from trainer.plan.child import PlanFailedError
from trainer.plan.devices import GIB
from trainer.sinks.report import Reporter
from trainer.spec import JobSpec, with_overrides
from trainer.wire import FailureKind, Fork, JobFile


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> FakeMake:
    """A cluster of one node with known memory, and plans that say that nothing fits."""
    make = FakeMake(fits=False)
    nodes: list[dict[str, Any]] = [{"Alive": True, "Resources": {"CPU": 4.0, "memory": 8.0 * GIB}}, {"Alive": False}]
    monkeypatch.setattr(preflight, "plan_in_child", make)
    monkeypatch.setattr(preflight.ray, "nodes", lambda: nodes)
    return make


def large() -> JobSpec:
    return with_overrides(recipes()["dcgan-digits"](), ["train.batch=1000000"])


def test_a_job_that_cannot_fit_fails_before_it_trains(
    make: FakeMake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.launch.ray_train.run", lambda job: pytest.fail("it trained"))
    job = JobFile(job_id="j", attempt=1, spec=large(), job_dir=str(tmp_path), cache_dir=str(tmp_path))
    launch = Launch(job, Reporter(job))
    launch._train()
    assert launch._failure is not None
    kind, reason = launch._failure
    assert kind is FailureKind.OUT_OF_MEMORY
    assert "train.micro_batch" in reason
    assert "use 128" in reason
    assert driver.FailureKind.OUT_OF_MEMORY.retryable is False


def test_a_small_job_and_a_failed_plan_are_let_through(make: FakeMake) -> None:
    assert preflight.refused(recipes()["dcgan-digits"]()) is None
    assert make.asked == []
    for error in (TimeoutError("late"), PlanFailedError("killed")):
        make.error = error
        assert preflight.refused(large()) is None
    assert len(make.asked) == 2
    make.error, make.fits = None, True
    assert preflight.refused(large()) is None


def test_a_fork_whose_weights_do_not_fit_fails_before_workers_start_with_the_list(
    make: FakeMake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings: list[JobFile] = []
    monkeypatch.setattr("trainer.launch.ray_train.run", lambda job: trainings.append(job) or "completed")
    monkeypatch.setattr(
        preflight, "parts_in_child", lambda spec, seconds: {"G/a.weight": Part((4, 2)), "D/b": Part((1,))}
    )
    spec = recipes()["dcgan-digits"]()
    trained(
        tmp_path, spec.model_dump(mode="json"), 30, shapes={"net/G/a.weight": [3, 2], "net/D/b": [1]}, place="origin"
    )

    def failure(*changes: str, restart: tuple[str, ...] = ()) -> tuple[FailureKind, str] | None:
        fork = Fork(mode="weights", job="j-parent", step=30, images=1920, restart=restart)
        job = JobFile(
            job_id="j",
            attempt=1,
            spec=with_overrides(spec, changes),
            job_dir=str(tmp_path),
            cache_dir=str(tmp_path),
            fork=fork,
        )
        launch = Launch(job, Reporter(job))
        launch._train()
        return launch._failure

    assert failure("objective.loss=hinge") is None, "the same arch"
    kind, reason = failure("arch.g_width=40") or (None, "")
    assert kind is FailureKind.BAD_SPEC
    assert "j-parent at step 30" in reason
    assert "G/a.weight: is [3, 2] in the checkpoint and [4, 2] in the new nets" in reason
    assert len(trainings) == 1, "it did not train"
    trained(tmp_path, spec.model_dump(mode="json"), 10)
    assert failure("arch.g_width=40") is None, "it goes on with a checkpoint of its own"
    state = tmp_path / "origin" / "step-000000030" / "state.safetensors"
    state.write_bytes(b"\xff" * 20)
    (tmp_path / "checkpoints" / "step-000000010" / "manifest.json").unlink()
    kind, reason = failure() or (None, "")
    assert (kind, "damaged" in reason) == (FailureKind.BAD_CHECKPOINT, True)
