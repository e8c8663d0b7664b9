"""One trial as Tune drives it, without a cluster: steps are evaluations, a clone is the source bit for bit, NaN is an end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainer.checkpoint.clone import adopt, stage
from trainer.checkpoint.files import latest, read, steps
from trainer.engine.distributed import Distributed
from trainer.engine.state import TrainState
from trainer.errors import CheckpointError
from trainer.launch.tune.progress import Progress
from trainer.launch.tune.training import Failed
from trainer.launch.tune.trial import WORST, Trial, TrialLostError
from trainer.objective import phases
from trainer.search import parse_search
from trainer.search.trial import trial_dir
from trainer.spec import parse_spec
from trainer.wire import FailureKind, SearchFile


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


EXPLODES = 1e6
"""The largest weight of a penalty that a spec may have; here it stands for one whose gradient no float32 holds."""


@pytest.fixture(autouse=True)
def exploding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training with that weight diverges in its first step, whatever its bits."""
    terms = phases.terms

    def heavy(objective: Any) -> tuple[Any, ...]:
        return tuple(replace(term, weight=1e35) if term.weight == EXPLODES else term for term in terms(objective))

    monkeypatch.setattr(phases, "terms", heavy)


def values(lr: float, penalty: float = 0.01) -> dict[str, Any]:
    return {"optimizers.G.lr": lr, "objective.penalties.0.weight": penalty}


class Driven:
    """A search whose trials are driven by hand, as Tune's actors would be."""

    def __init__(self, folder: Path, cache: Path, algorithm: str = "random", **changes: Any) -> None:
        base = {
            "train.images": 640, "train.batch": 32, "data.lanes": 2, "arch.g_hidden": 16, "arch.d_hidden": 16,
            "evaluation.samples": 64, "evaluation.metrics": ["fid"], "samples.every_steps": 1000,
            "objective.penalties": [{"kind": "r1", "weight": 0.01}], **changes,
        }  # fmt: skip
        space = {
            "optimizers.G.lr": {"loguniform": [1e-5, 1.0]},
            "objective.penalties.0.weight": {"loguniform": [1e-3, EXPLODES]},
        }
        self.search = parse_search(
            {"base": {"recipe": "gan-digits", "set": base}, "space": space, "algorithm": algorithm, "evaluations": 4}
        )
        self.file = SearchFile(job_id="s-0", attempt=1, spec=self.search, job_dir=str(folder), cache_dir=str(cache))
        self.folder, self._made = folder, list[Trial]()
        (folder / "search.json").write_text(self.file.model_dump_json())

    def config(self, lr: float, penalty: float = 0.01) -> dict[str, Any]:
        return {
            "search_file": str(self.folder / "search.json"), "values": values(lr, penalty), "resources": [{"CPU": 1}]
        }  # fmt: skip

    def trial(self, trial_id: str, lr: float, penalty: float = 0.01) -> Trial:
        info = SimpleNamespace(trial_id=trial_id, trial_name=trial_id)
        made = Trial({**self.config(lr, penalty), "__trial_info__": info})
        self._made.append(made)
        return made

    def close(self) -> None:
        for made in self._made:
            made.stop()


@pytest.fixture
def driven(tmp_path: Path, cache: Path) -> Iterator[Driven]:
    found = Driven(tmp_path, cache)
    yield found
    found.close()


def saved_step(folder: Path) -> Path:
    """The state in one of Tune's checkpoints."""
    (found,) = folder.glob("step-*")
    return found


def run(trial: Trial) -> list[dict[str, Any]]:
    results = [trial.train()]
    while not results[-1]["done"]:
        results.append(trial.train())
    return results


@pytest.mark.long
def test_a_step_is_an_evaluation_and_the_training_waits_there(driven: Driven) -> None:
    trial = driven.trial("t-00000", 1e-3)
    first = trial.train()
    folder = trial_dir(driven.folder, "t-00000")
    assert (first["images"], first["done"], first["state"]) == (160, False, "running")
    assert first["score"] == first["progress"]["results"][0]["value"]
    shown = [json.loads(line)["images"] for line in (folder / "events.jsonl").read_text().splitlines()]
    assert max(shown) == 160
    rest = run(trial)
    assert [result["images"] for result in rest] == [320, 480, 640]
    assert rest[-1]["state"] == "completed"
    assert Progress.read(folder).images == 640


@pytest.mark.long
def test_a_trial_whose_process_died_goes_on_and_ends_as_if_nothing_had_happened(
    driven: Driven, tmp_path: Path, cache: Path
) -> None:
    whole = run(driven.trial("t-00000", 1e-3))[-1]
    halted = driven.trial("t-00001", 1e-3)
    halted.train()
    halted.train()
    again = driven.trial("t-00001", 1e-3)  # the first one's process is gone for all that this one knows
    halted.stop()
    results = run(again)
    assert [r["value"] for r in results[-1]["progress"]["results"]] == [
        r["value"] for r in whole["progress"]["results"]
    ]
    ours, theirs = (latest(trial_dir(driven.folder, name) / "checkpoints") for name in ("t-00000", "t-00001"))
    assert ours is not None
    assert theirs is not None
    for key, value in read(ours)[0].items():
        assert torch.equal(value, read(theirs)[0][key]), key


@pytest.mark.parametrize("reused", [False, True], ids=["a new process", "the same process"])
def test_a_clone_equals_its_source_bit_for_bit_and_trains_on_with_its_own_values(
    driven: Driven, reused: bool, tmp_path: Path
) -> None:
    source, target = driven.trial("t-00000", 1e-3), driven.trial("t-00001", 1e-4)
    source.train()
    source.train()
    target.train()
    saved = source.save(str(tmp_path / "saved"))
    if reused:
        target.reset({**driven.config(2e-3), "__trial_info__": target._trial_info})
    else:
        target.stop()
        target = driven.trial("t-00001", 2e-3)
    target.restore(saved)
    own = trial_dir(driven.folder, "t-00001")
    theirs, _ = read(tmp_path / "saved" / "step-000000010")
    ours, meta = read(own / "checkpoints" / "step-000000010")
    assert steps(own / "checkpoints") == [10]
    assert ours.keys() == theirs.keys()
    assert {key.split("/")[0] for key in ours} == {"net", "optimizer", "ema"}
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    spec = parse_spec(meta["spec"])
    state = TrainState.create(spec, Distributed.create(spec, world=1))
    state.load(ours, meta)
    assert all(torch.equal(value.cpu(), theirs[key]) for key, value in state.tensors().items())
    assert state.players["G"].settings.lr == 2e-3
    assert state.players["D"].settings.lr == driven.search.base.optimizers["D"].lr
    result = target.train()
    assert result["images"] == 480
    (cloned,) = Progress.read(own).clones
    assert (cloned.source, cloned.step, cloned.images, cloned.values) == ("t-00000", 10, 160, values(2e-3))
    assert Progress.read(own).images == 160 + 160  # its own, and what it trained after the clone
    target.restore(saved)  # as after a crash behind the clone: it has gone on since
    assert steps(own / "checkpoints")[-1] == 15


def test_a_trial_that_diverges_scores_as_the_worst_and_ends(tmp_path: Path, cache: Path) -> None:
    driven = Driven(tmp_path, cache)
    last = run(driven.trial("t-00000", 1e-3, EXPLODES))[-1]
    driven.close()
    assert (last["state"], last["score"]) == ("diverged", WORST)
    assert "step" in last["reason"]


def test_a_diverged_member_of_a_population_may_be_taken_over_once(tmp_path: Path, cache: Path) -> None:
    driven = Driven(tmp_path, cache, "pbt")
    healthy, sick = driven.trial("t-00000", 1e-3), driven.trial("t-00001", 1e-3)
    healthy.train()
    saved = healthy.save(str(tmp_path / "saved"))
    sick.train()
    sick.reset({**driven.config(1e-3, EXPLODES), "__trial_info__": sick._trial_info})
    stage(saved_step(tmp_path / "saved"), tmp_path / "aside", sick._job.spec)
    adopt(tmp_path / "aside", trial_dir(tmp_path, "t-00001") / "checkpoints")
    first = next(result for _ in range(3) if (result := sick.train())["score"] == WORST)
    assert not first["done"]
    sick.reset({**driven.config(1e-3), "__trial_info__": sick._trial_info})
    sick.restore(saved)
    healed = sick.train()
    assert (healed["state"], healed["images"]) == ("running", 320)
    assert healed["score"] < WORST
    early = driven.trial("t-00002", 1e-3, EXPLODES)
    assert early.train()["state"] == "diverged"  # before its first score nobody can compare it
    driven.close()


def test_a_stop_file_ends_the_trial_within_a_step_and_keeps_its_score(driven: Driven) -> None:
    trial = driven.trial("t-00000", 1e-3)
    first = trial.train()
    assert trial._training is not None
    trial._training.stop()
    last = trial.train()
    assert (last["done"], last["state"], last["score"]) == (True, "stopped", first["score"])
    trial.stop()
    again = driven.trial("t-00000", 1e-3).train()  # asked while it waits for its turn: it trains not one step
    assert (again["done"], again["state"], again["progress"]["images"]) == (True, "stopped", 160)


class CutError(Exception):
    """The process dies here."""


@pytest.mark.long
@pytest.mark.parametrize("where", ["before the record", "behind the record", "while the states change places"])
def test_a_crash_between_a_clone_and_its_record_leaves_the_state_before_or_behind_it(
    driven: Driven, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    source, target = driven.trial("t-00000", 1e-3), driven.trial("t-00001", 1e-4)
    source.train()
    source.train()
    saved = source.save(str(tmp_path / "saved"))
    target.train()
    target.reset({**driven.config(2e-3), "__trial_info__": target._trial_info})
    own = trial_dir(driven.folder, "t-00001")

    def cut(*arguments: object) -> None:
        raise CutError

    if where == "before the record":
        monkeypatch.setattr(Progress, "write", cut)
    elif where == "behind the record":
        monkeypatch.setattr(
            "trainer.launch.tune.clones.settle", lambda folder, progress: cut() if progress.clones else None
        )
    else:
        rename = Path.rename
        monkeypatch.setattr(Path, "rename", lambda path, to: cut() if path.name == "clone-0" else rename(path, to))
    with pytest.raises(CutError):
        target.restore(saved)
    monkeypatch.undo()
    taken = Progress.read(own).clones
    assert len(taken) == (0 if where == "before the record" else 1)
    again = driven.trial("t-00001", 2e-3 if taken else 1e-4)  # with the values that the record says
    assert again.train()["images"] == (480 if taken else 320)
    assert not list(own.glob("clone-*"))


def test_two_processes_never_train_one_trial_at_once(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.launch.tune.trial.ALONE_SECONDS", 0.2)
    trial = driven.trial("t-00000", 1e-3)
    with trial._alone(), pytest.raises(TrialLostError, match="another process still trains t-00000"):
        driven.trial("t-00000", 1e-3).train()
    assert trial.train()["images"] == 160


def test_a_state_of_another_shape_is_refused_with_what_differs(driven: Driven, tmp_path: Path) -> None:
    trial = driven.trial("t-00000", 1e-3)
    trial.train()
    source = latest(trial_dir(driven.folder, "t-00000") / "checkpoints")
    assert source is not None
    spec = driven.search.base
    other = spec.replace(arch=spec.arch.replace(g_hidden=32))
    with pytest.raises(CheckpointError, match="arch differ"):
        stage(source, tmp_path / "other", other)
    assert not (tmp_path / "other").exists()


def test_a_lost_worker_costs_only_what_is_trained_again(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = driven.trial("t-00000", 1e-3)
    trial.train()
    gone = SimpleNamespace(lost=lambda: Failed(FailureKind.WORKER_LOST, "its node died", 0), close=lambda seconds: None)
    trial._ranks = gone  # type: ignore[assignment]
    assert trial._training is not None
    monkeypatch.setattr("trainer.launch.tune.trial.OWN_SECONDS", 0.1)
    monkeypatch.setattr("trainer.launch.tune.trial.LOOK_SECONDS", 0.1)
    monkeypatch.setattr(trial._training, "go", lambda: None)  # it hangs in a collective
    with pytest.raises(TrialLostError, match="its node died"):
        trial.train()
    assert Progress.read(trial_dir(driven.folder, "t-00000")).images == 160
    assert run(driven.trial("t-00000", 1e-3))[-1]["progress"]["images"] == 640
