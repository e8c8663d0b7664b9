"""A training that begins with another one's checkpoint, through the whole wiring: with its state, or with its nets alone."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from rollback_runs import Hook, Quiet, poison, small, warnings
from safetensors.torch import save_file

from trainer.checkpoint import read, step_path
from trainer.checksums import write_checksums
from trainer.engine.distributed import Distributed
from trainer.engine.events import Event, RolledBack, Run, RunStarted, StepDone
from trainer.engine.state import TrainState
from trainer.errors import BadSpecError, CheckpointError
from trainer.launch import compose
from trainer.origin.hold import choose, hold
from trainer.origin.package import WEIGHTS, about, unpack
from trainer.spec import JobSpec, dump_spec
from trainer.wire import Fork, JobFile


@pytest.fixture(scope="module")
def cache(digits_cache: Path) -> Path:
    torch.set_num_threads(1)
    return digits_cache


def quieten(patch: pytest.MonkeyPatch) -> None:
    """Without those that cost more than the training."""
    for part in ("Reporting", "Publisher"):
        patch.setattr(compose, part, lambda *arguments: Quiet())


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    quieten(monkeypatch)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """40 steps, with checkpoints at 10, 20, 30 and 40; NaN after step 23 took it back from 25 to 20."""
    folder = tmp_path_factory.mktemp("parent")
    with pytest.MonkeyPatch.context() as patch:
        quieten(patch)
        spec, hook = small(), Hook(poison(23))
        job = JobFile(job_id="p", attempt=1, spec=spec, job_dir=str(folder), cache_dir=str(cache))
        (folder / "job.json").write_text(job.model_dump_json())
        assert compose.train(job, Distributed.create(spec, world=1), [hook]) == "completed"
    return folder


class Start(Hook):
    """Keeps the state, too, as the first step finds it."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: dict[str, torch.Tensor] = {}
        self.clock: Any = None

    def handle(self, event: Event, run: Run) -> None:
        super().handle(event, run)
        if isinstance(event, RunStarted) and not self.tensors:
            self.tensors = {name: value.clone() for name, value in run.state.tensors().items()}
            self.clock = json.loads(json.dumps(run.state.meta()["clock"]))


def forked(
    folder: Path,
    parent: Path,
    spec: JobSpec,
    cache: Path,
    *,
    at: int,
    mode: Literal["state", "weights"],
    restart: Sequence[str] = (),
) -> tuple[Start, Fork]:
    checkpoint, found = choose(parent, at)
    fork = hold(checkpoint, found, folder, mode, restart)
    return again(folder, spec, cache, fork), fork


def again(folder: Path, spec: JobSpec, cache: Path, fork: Fork) -> Start:
    job = JobFile(job_id="c", attempt=1, spec=spec, job_dir=str(folder), cache_dir=str(cache), fork=fork)
    (folder / "job.json").write_text(job.model_dump_json())
    start = Start()
    assert compose.train(job, Distributed.create(spec, world=1), [start]) == "completed"
    return start


def digest(folder: Path, step: int) -> str:
    return hashlib.sha256((step_path(folder / "checkpoints", step) / "state.safetensors").read_bytes()).hexdigest()


# -- the state


@pytest.mark.parametrize("at", [20, 30])
def test_a_fork_of_the_state_ends_with_the_parents_bits_also_behind_a_roll_back(
    tmp_path: Path, parent: Path, cache: Path, at: int
) -> None:
    """Rates and seed after a roll back are other ones: at 20, to which it went back, and at 30."""
    start, fork = forked(tmp_path, parent, small(), cache, at=at, mode="state")
    assert (fork.step, fork.images, fork.offset) == (at, 16 * at, 0)
    steps = [event.step for event in start.of(StepDone)]
    assert steps == list(range(at, 41)), "the parent's images go on"
    assert digest(tmp_path, 40) == digest(parent, 40)
    assert read(step_path(tmp_path / "checkpoints", 40))[1] == read(step_path(parent / "checkpoints", 40))[1]
    assert [event.count for event in start.of(RolledBack)] == ([1] if at == 20 else [])


def test_a_state_that_is_damaged_is_no_reason_to_start_over(tmp_path: Path, parent: Path, cache: Path) -> None:
    checkpoint, found = choose(parent, 30)
    fork = hold(checkpoint, found, tmp_path, "state")
    state = step_path(tmp_path / "checkpoints", 30) / "state.safetensors"
    content = state.read_bytes()
    state.unlink()  # the parent's is another name of the same bytes
    state.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="fork another checkpoint"):
        again(tmp_path, small(), cache, fork)
    assert digest(parent, 30) == hashlib.sha256(content).hexdigest()


@pytest.mark.long
def test_a_fork_keeps_what_the_parent_removes(tmp_path: Path, parent: Path, cache: Path) -> None:
    gone = tmp_path / "gone"
    shutil.copytree(parent, gone)
    checkpoint, found = choose(gone, 30)
    fork = hold(checkpoint, found, tmp_path / "child", "state")
    shutil.rmtree(gone)
    again(tmp_path / "child", small(), cache, fork)
    assert digest(tmp_path / "child", 40) == digest(parent, 40)


# -- the nets


def saved(parent: Path, step: int) -> dict[str, torch.Tensor]:
    return read(step_path(parent / "checkpoints", step))[0]


def test_a_fork_of_the_weights_has_the_parents_nets_and_averages_and_nothing_else(
    tmp_path: Path, parent: Path, cache: Path
) -> None:
    spec = small("train.images=160", "optimizers.G.lr=0.01", "objective.loss=hinge", "train.seed=5")
    start, fork = forked(tmp_path, parent, spec, cache, at=30, mode="weights")
    theirs = saved(parent, 30)
    nets = {name: value for name, value in theirs.items() if not name.startswith("optimizer/")}
    assert start.tensors.keys() == nets.keys(), "an optimiser has no state before its first step"
    assert all(torch.equal(start.tensors[name], value) for name, value in nets.items())
    assert any(name.startswith("ema/G/") for name in nets)
    assert start.clock == {"step": 0, "batches": 0, "images": 0, "updates": {"D": 0, "G": 0}}
    assert (fork.offset, fork.images) == (480, 480)
    assert fork.told() == "the weights of p at step 30 (480 images)"
    assert warnings(start) == [], "all was taken"
    ended = saved(tmp_path, 10)
    assert not all(torch.equal(ended[name], value) for name, value in nets.items())
    resumed = again(tmp_path, spec.replace(train=spec.train.replace(images=320)), cache, fork)
    assert all(torch.equal(resumed.tensors[name], value) for name, value in ended.items()), "it goes on with its own"


@pytest.mark.long
def test_without_an_average_of_the_parents_a_new_one_begins_at_the_net(
    tmp_path: Path, parent: Path, cache: Path
) -> None:
    plain = tmp_path / "plain"
    forked(plain, parent, small("train.images=160", "ema=null"), cache, at=10, mode="weights")
    start, fork = forked(tmp_path / "child", plain, small("train.images=160"), cache, at=10, mode="weights")
    ours = {name.removeprefix("ema/"): value for name, value in start.tensors.items() if name.startswith("ema/")}
    assert ours
    assert all(torch.equal(value, start.tensors[f"net/{name}"]) for name, value in ours.items())
    assert fork.offset == 160 + 160, "over all that it goes back to"


WIDER = ("train.images=160", "arch.d_hidden=12", "arch.resolution=8")


def test_parameters_that_do_not_fit_are_listed_before_anything_is_opened(
    tmp_path: Path, parent: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compose, "open_dataset", lambda *_, **__: pytest.fail("the data are opened"))
    with pytest.raises(BadSpecError) as refused:
        forked(tmp_path, parent, small(*WIDER), cache, at=30, mode="weights")
    said = str(refused.value)
    shapes = {name: list(value.shape) for name, value in saved(parent, 30).items()}
    state = TrainState.create(small(*WIDER), Distributed.create(small(), world=1))
    for name, value in state.players["D"].net.state_dict().items():
        listed = f"D/{name}: is {shapes[f'net/D/{name}']} in the checkpoint and {list(value.shape)} in the new nets"
        assert (listed in said) == (shapes[f"net/D/{name}"] != list(value.shape))
    assert "G/" not in said
    assert "--restart changed" in said


def test_what_is_to_start_anew_begins_as_it_would_in_a_new_training(tmp_path: Path, parent: Path, cache: Path) -> None:
    spec = small(*WIDER)
    start, _ = forked(tmp_path / "fork", parent, spec, cache, at=30, mode="weights", restart=["changed"])
    fresh = Start()
    job = JobFile(job_id="n", attempt=1, spec=spec, job_dir=str(tmp_path / "new"), cache_dir=str(cache))
    compose.train(job, Distributed.create(spec, world=1), [fresh])
    theirs, anew = saved(parent, 30), set()
    for name, value in start.tensors.items():
        fits = theirs[name].shape == value.shape
        assert torch.equal(value, (theirs if fits else fresh.tensors)[name]), name
        anew |= set() if fits else {name.removeprefix("net/")}
    assert anew
    (told,) = warnings(start)
    names = [name.removeprefix("net/") for name in start.tensors]
    assert told == f"these start anew: {', '.join(name for name in names if name in anew)}"


@pytest.mark.long
def test_a_player_that_is_named_starts_anew_though_it_fits(tmp_path: Path, parent: Path, cache: Path) -> None:
    start, _ = forked(tmp_path, parent, small("train.images=160"), cache, at=30, mode="weights", restart=["D"])
    theirs = saved(parent, 30)
    assert all(torch.equal(start.tensors[name], value) for name, value in theirs.items() if name.startswith("net/G/"))
    assert not any(
        torch.equal(start.tensors[name], value)
        for name, value in theirs.items()
        if name.startswith("net/D/") and value.ndim > 1
    )


def test_a_fork_whose_checkpoint_is_gone_or_damaged_does_not_start_over(
    tmp_path: Path, parent: Path, cache: Path
) -> None:
    checkpoint, found = choose(parent, 30)
    spec = small("train.images=160")
    fork = hold(checkpoint, found, tmp_path, "weights")
    state = tmp_path / "origin" / "step-000000030" / "state.safetensors"
    content = state.read_bytes()
    state.unlink()
    state.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="damaged"):
        again(tmp_path, spec, cache, fork)
    shutil.rmtree(tmp_path / "origin")
    with pytest.raises(CheckpointError, match="fork it again"):
        again(tmp_path, spec, cache, fork)


# -- a package's weights


def packaged(folder: Path, spec: JobSpec, nets: dict[str, dict[str, torch.Tensor]]) -> Path:
    """What of a package a fork reads: nets by the name of their file."""
    folder.mkdir()
    for name, tensors in nets.items():
        save_file({key: value.clone() for key, value in tensors.items()}, folder / name)
    (folder / "spec.yaml").write_text(dump_spec(spec))
    (folder / "config.json").write_text("{}")
    write_checksums(folder)
    return folder


def of(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def test_a_package_gives_its_generator_and_the_discriminator_that_it_lacks_starts_anew_if_asked(
    tmp_path: Path, parent: Path, cache: Path
) -> None:
    average = of(saved(parent, 30), "ema/G/")
    package = packaged(tmp_path / "package", small(), {"model.safetensors": average})
    spec = small("train.images=160")
    with pytest.raises(BadSpecError, match=r"D/layers\.0\.linear\.weight: is new"):
        forked(tmp_path / "refused", package, spec, cache, at=0, mode="weights")
    start, fork = forked(tmp_path / "child", package, spec, cache, at=0, mode="weights", restart=["D"])
    assert fork.told() == f"the weights of the package {package}"
    assert (fork.job, fork.package, fork.parent, fork.offset) == (None, str(package), str(package), 0)
    for kind in ("net/G/", "ema/G/"):
        ours = of(start.tensors, kind)
        assert ours.keys() == average.keys()
        assert all(torch.equal(ours[name], value) for name, value in average.items())


def test_a_package_is_read_bit_for_bit_also_with_items_of_several_sizes(tmp_path: Path) -> None:
    nets = {
        "model.safetensors": {
            "a": torch.randn(3), "count": torch.tensor(7), "flag": torch.tensor([True]), "half": torch.randn(5).half(),
        },
        "discriminator.safetensors": {"count": torch.tensor(9), "b": torch.randn(2, 3), "empty": torch.zeros(0, 4)},
    }  # fmt: skip
    package = packaged(tmp_path / "package", small(), nets)
    unpack(package, tmp_path / "out")
    tensors, meta = read(tmp_path / "out")
    wanted = {f"net/{player}/{k}": v for player, file in WEIGHTS.items() for k, v in nets.get(file, {}).items()}
    assert tensors.keys() == wanted.keys()
    assert all(
        torch.equal(tensors[name], value) and tensors[name].dtype == value.dtype for name, value in wanted.items()
    )
    assert meta["clock"]["step"] == 0
    facts, shapes = about(package)
    assert (facts.spec, shapes) == (small(), {name: tuple(value.shape) for name, value in wanted.items()})


@pytest.mark.parametrize("damage", ["altered", "unsummed", "torn", "no spec", "no package"])
def test_a_package_that_is_not_whole_is_refused(tmp_path: Path, damage: str) -> None:
    package = packaged(tmp_path / "package", small(), {"model.safetensors": {"a": torch.randn(3)}})
    weights = package / "model.safetensors"
    if damage == "altered":
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    elif damage == "unsummed":
        (package / "checksums.json").write_text("{}")
    elif damage == "torn":
        weights.write_bytes(weights.read_bytes()[:-4])
        write_checksums(package)
    elif damage == "no spec":
        (package / "spec.yaml").write_text("name: 3")
        write_checksums(package)
    else:
        (package / "config.json").unlink()
    with pytest.raises(CheckpointError, match="package"):
        unpack(package, tmp_path / "out")
