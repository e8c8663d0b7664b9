"""Going on: from the newest sound checkpoint of this training, and of no other."""

from __future__ import annotations

import os

import pytest
import torch
from checkpoint_doubles import small_spec

from trainer.checkpoint import restore, step_path, write
from trainer.engine.state import TrainState
from trainer.errors import BadSpecError


def saved(tmp_path, distributed, *changes, step=4, data="d" * 64):
    state = TrainState.create(small_spec(*changes), distributed)
    state.extras["dataset"] = data
    state.clock.step = step
    write(tmp_path, step, {name: tensor.clone() for name, tensor in state.tensors().items()}, state.meta())
    return state


def fresh(distributed, *changes, data="d" * 64):
    state = TrainState.create(small_spec(*changes), distributed)
    state.extras["dataset"] = data
    return state


def test_a_fresh_start_has_nothing_to_restore(tmp_path, distributed):
    assert restore(fresh(distributed), tmp_path / "checkpoints", distributed).path is None


def test_the_newest_undamaged_checkpoint_is_restored_and_damaged_ones_are_set_aside(tmp_path, distributed):
    saved(tmp_path, distributed, step=4)
    saved(tmp_path, distributed, step=8)
    os.truncate(step_path(tmp_path, 8) / "state.safetensors", 50)
    state = fresh(distributed)
    found = restore(state, tmp_path, distributed)
    assert found.path == step_path(tmp_path, 4)
    assert state.clock.step == 4
    assert len(found.warnings) == 1
    assert "damaged-step-000000008" in found.warnings[0]
    assert (tmp_path / "damaged-step-000000008").is_dir()
    assert not step_path(tmp_path, 8).exists()


ALLOWED = [
    "train.images=99", "train.log_steps=7", "train.micro_batch=8", "checkpoint.every_steps=9", "samples.count=4",
    "evaluation.samples=100", "resources.workers=2", "name=other", "retry.attempts=1", "data.decode_threads=3",
    "publish={model: m}",
]  # fmt: skip


@pytest.mark.parametrize("change", ALLOWED)
def test_what_does_not_change_the_training_may_change_between_starts(tmp_path, distributed, change):
    saved(tmp_path, distributed)
    assert restore(fresh(distributed, change), tmp_path, distributed).path is not None


REFUSED = {
    "arch.g_hidden=16": "arch.g_hidden is 8 in the checkpoint and 16 now",
    "optimizers.G.lr=0.25": "optimizers.G.lr is 0.0005 in the checkpoint and 0.25 now",
    "objective.loss=hinge": "objective.loss is 'non-saturating' in the checkpoint and 'hinge' now",
    "train.seed=5": "train.seed is 0 in the checkpoint and 5 now",
    "train.batch=32": "train.batch",
    "data.lanes=4": "data.lanes",
    "ema=null": "ema.decay",
    "train.precision=bf16": "train.precision",
}


@pytest.mark.parametrize(("change", "message"), REFUSED.items())
def test_another_training_is_refused_by_field(tmp_path, distributed, change, message):
    saved(tmp_path, distributed)
    state = fresh(distributed, change)
    before = {name: tensor.clone() for name, tensor in state.tensors().items()}
    with pytest.raises(BadSpecError, match=message):
        restore(state, tmp_path, distributed)
    assert all(torch.equal(before[name], tensor) for name, tensor in state.tensors().items())
    assert state.clock.step == 0


def test_other_data_is_refused_though_the_spec_is_the_same(tmp_path, distributed):
    saved(tmp_path, distributed, data="a" * 64)
    with pytest.raises(BadSpecError, match=r"data\.digest"):
        restore(fresh(distributed, data="b" * 64), tmp_path, distributed)
