"""`agon train --from`: what a local run begins with, and what is refused before anything is trained."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from forks import record, trained

from trainer.families.table import recipes
from trainer.launch import local
from trainer.wire import Fork, JobFile

SPEC = recipes()["gan-digits"]()


class Runs:
    """Runs the command, but for the training."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.jobs: list[JobFile] = []

    def __call__(self, source: str | None = None, *changes: str, out: str | None = "child", **options: Any) -> JobFile:
        usual: dict[str, Any] = {"from_": self.tmp_path / "parent", "at": "latest", "weights": False, "restart": None}
        usual |= {"fresh": False, "data_root": None, "cache_dir": self.tmp_path / "cache"}
        folder = self.tmp_path / out if out is not None else None
        local.main(source, list(changes), folder, **(usual | options))
        return self.jobs[-1]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Beside a parent with checkpoints of steps 10 and 20, of which 10 is the best."""
    runs = Runs(tmp_path)
    monkeypatch.setattr(local, "run", runs.jobs.append)
    monkeypatch.chdir(tmp_path)
    parent = tmp_path / "parent"
    for step in (10, 20):
        trained(parent, SPEC.model_dump(mode="json"), step)
    record(parent, "best.json", {"step": 10, "metric": "fid", "value": 3.0})
    (parent / "job.json").write_text(
        JobFile(
            job_id="local-parent", attempt=1, spec=SPEC, job_dir=str(parent), cache_dir="",
            fork=Fork(mode="weights", job="older", step=5, images=320, offset=320),
        ).model_dump_json()
    )  # fmt: skip
    return runs


def refused(capsys: pytest.CaptureFixture[str], code: int, call: Any) -> str:
    with pytest.raises(SystemExit) as ended:
        call()
    assert ended.value.code == code
    return capsys.readouterr().err


def test_a_run_goes_on_with_the_newest_the_best_or_a_step_of_another(runs: Runs, tmp_path: Path) -> None:
    job = runs(None, "train.images=90000")
    assert job.fork is not None
    assert (job.fork.mode, job.fork.job, job.fork.step, job.fork.offset) == ("state", "local-parent", 20, 320)
    assert job.spec.train.images == 90_000
    assert [path.name for path in (tmp_path / "child" / "checkpoints").iterdir()] == ["step-000000020"]
    best = runs(None, out="best", at="best", weights=True, restart=["D"])
    assert best.fork is not None
    assert (best.fork.step, best.fork.offset, best.fork.restart) == (10, 320 + 640, ("D",))
    assert [path.name for path in (tmp_path / "best" / "origin").iterdir()] == ["step-000000010"]
    direct = runs(None, out="direct", from_=tmp_path / "parent" / "checkpoints" / "step-000000010")
    assert direct.fork is not None
    assert direct.fork.step == 10
    assert (tmp_path / "direct" / "checkpoints" / "best.json").exists(), "it is the best so far"


def test_started_again_it_goes_on_also_when_the_other_run_is_gone(runs: Runs, tmp_path: Path) -> None:
    first = runs(None, weights=True)
    shutil.rmtree(tmp_path / "parent")
    again = runs(None, weights=True)
    assert (again.fork, again.attempt, again.spec) == (first.fork, 2, first.spec)
    plain = runs("gan-digits", from_=None)
    assert plain.fork == first.fork, "without --from, too"


def test_what_can_not_be_begun_so_is_told_before_anything_is_trained(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, 2, lambda: runs(None, "train.batch=32", out="a"))
    assert "train.batch: can't change on the way from a checkpoint (got 32)" in said
    assert "--weights" in said
    said = refused(capsys, 9, lambda: runs(None, out="b", at="15"))
    assert "has no step 15" in said
    assert "(20, 10)" in said
    assert "needs a folder of its own" in refused(capsys, 2, lambda: runs(None, out=None))
    assert "needs a folder of its own" in refused(capsys, 2, lambda: runs(None, out="parent"))
    assert "a state is taken whole" in refused(capsys, 2, lambda: runs(None, out="c", restart=["D"]))
    assert "neither latest nor best nor a step" in refused(capsys, 2, lambda: runs(None, out="d", at="-1"))
    assert "go with --from" in refused(capsys, 2, lambda: runs("gan-digits", out="e", from_=None, weights=True))
    trained(tmp_path / "other", SPEC.model_dump(mode="json"), 30)
    assert "--fresh" in refused(capsys, 2, lambda: runs(None, out="other"))
    assert (tmp_path / "other" / "checkpoints" / "step-000000030" / "manifest.json").exists()
    assert runs.jobs == []
    runs(None, out="f", weights=True)
    assert "--fresh" in refused(capsys, 2, lambda: runs(None, out="f", weights=True, restart=["D"]))
    assert runs(None, out="f", weights=True, restart=["D"], fresh=True).fork is not None
