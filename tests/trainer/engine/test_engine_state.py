"""The state comes back bit for bit, or says by name why it can't."""

from __future__ import annotations

import json

import pytest
import torch
from engine_doubles import dcgan_spec, gan_spec, parameters, stepper

from trainer.engine.state import TrainState
from trainer.errors import CheckpointError

OPTIMIZERS = [
    "{kind: adam, lr: 0.001}",
    "{kind: rmsprop, lr: 0.001}",
    "{kind: sgd, lr: 0.01, momentum: 0.5}",
    "{kind: sgd, lr: 0.01}",
]


@pytest.mark.parametrize(
    ("optimizer", "channels_last"), [*((each, False) for each in OPTIMIZERS), (OPTIMIZERS[0], True)]
)
def test_loading_then_training_on_equals_training_on(distributed, optimizer, channels_last):
    """Also where tensors lie otherwise in memory than in the file: a fused optimiser walks through memory."""
    last = f"train.channels_last={str(channels_last).lower()}"
    spec = dcgan_spec(f"optimizers.G={optimizer}", f"optimizers.D={optimizer}", last)
    first = stepper(spec, distributed)
    first.state.extras["sentinel"] = {"sigma": [1.5]}
    for _ in range(3):
        first.step()
    saved = {name: tensor.contiguous() for name, tensor in parameters(first.state).items()}
    meta = json.loads(json.dumps(first.state.meta()))
    for _ in range(3):
        first.step()

    fresh = TrainState.create(spec, distributed)
    fresh.load(saved, meta)
    assert fresh.extras == {"sentinel": {"sigma": [1.5]}}
    assert (fresh.clock.step, fresh.clock.batches, fresh.clock.updates) == (3, 3, {"G": 3, "D": 3})
    second = stepper(spec, distributed, fresh)
    for _ in range(3):
        second.step()
    expected, found = first.state.tensors(), second.state.tensors()
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_channels_last_changes_nothing_but_the_order_in_memory(distributed, float64):
    plain, last = (stepper(dcgan_spec(f"train.channels_last={value}"), distributed) for value in ("false", "true"))
    for runner in (plain, last):
        runner.step()
        runner.step()
    convolutions = [p for p in last.state.players["D"].parameters if p.dim() == 4 and min(p.shape) > 1]
    assert convolutions
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in convolutions)
    for name, tensor in plain.state.tensors().items():
        torch.testing.assert_close(last.state.tensors()[name], tensor, rtol=1e-7, atol=1e-9, msg=name)


def test_a_state_saved_before_the_first_step_can_be_loaded(distributed):
    spec = gan_spec()
    state = TrainState.create(spec, distributed)
    fresh = TrainState.create(gan_spec("train.seed=1"), distributed)
    fresh.load(parameters(state), state.meta())
    assert all(torch.equal(a, b) for a, b in zip(state.tensors().values(), fresh.tensors().values(), strict=True))


def test_the_tensors_are_named_by_player_and_parameter(distributed):
    runner = stepper(gan_spec(), distributed)
    runner.step()
    names = set(runner.state.tensors())
    parameter = next(name for name, _ in runner.state.players["G"].net.named_parameters())
    assert {f"net/G/{parameter}", f"optimizer/G/{parameter}/exp_avg", f"ema/G/{parameter}"} <= names
    assert {name.split("/")[0] for name in names} == {"net", "optimizer", "ema"}


def test_another_models_tensors_are_refused_by_name(distributed):
    saved = stepper(gan_spec("arch.g_hidden=12"), distributed)
    saved.step()
    state = TrainState.create(gan_spec(), distributed)
    before = parameters(state)
    with pytest.raises(
        CheckpointError, match=r"ema/\S+ is float32 \[12\] in the checkpoint, but float32 \[16\] here.*; and 5 more"
    ):
        state.load(saved.state.tensors(), saved.state.meta())
    tensors = dict(before)
    gone = tensors.popitem()[0]
    with pytest.raises(CheckpointError, match=f"{gone} is missing"):
        state.load(tensors, state.meta())
    with pytest.raises(CheckpointError, match="net/Q/x is not part of this model"):
        state.load(before | {"net/Q/x": torch.zeros(1)}, state.meta())
    with pytest.raises(CheckpointError, match="optimiser state for G's 'nowhere'"):
        state.load(before | {"optimizer/G/nowhere/exp_avg": torch.zeros(1)}, state.meta())
    assert all(torch.equal(before[name], tensor) for name, tensor in state.tensors().items())


def test_equal_specs_give_equal_states_and_other_seeds_others(distributed):
    one, two, other = (TrainState.create(gan_spec(*c), distributed) for c in ([], [], ["train.seed=1"]))
    assert all(torch.equal(a, b) for a, b in zip(one.tensors().values(), two.tensors().values(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.tensors().values(), other.tensors().values(), strict=True))


def test_the_generator_is_the_average_if_there_is_one(distributed):
    with_ema, without = TrainState.create(gan_spec(), distributed), TrainState.create(gan_spec("ema=null"), distributed)
    assert with_ema.generator is with_ema.averages["G"]
    assert without.generator is without.players["G"].net
