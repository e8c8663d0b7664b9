"""One step keeps what it promises: accumulation, frozen players, no waiting for the device, schedules, averages."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from engine_doubles import dcgan_spec, gan_spec, parameters, stepper
from torch.utils._python_dispatch import TorchDispatchMode

from trainer.engine import ema as averaging
from trainer.engine.players import only
from trainer.engine.state import TrainState
from trainer.families.table import recipes
from trainer.objective.phases import Loss, Phase
from trainer.spec import with_overrides


@pytest.mark.parametrize("micro", [1, 2, 4])
def test_accumulated_gradients_equal_the_large_batch(distributed, float64, micro):
    """A correction of the gradients, too, is made once an update: not for each micro-batch."""
    penalty = "objective.penalties=[{kind: orthogonal, weight: 0.1}]"
    whole, split = (stepper(gan_spec(penalty, *extra), distributed) for extra in ([], [f"train.micro_batch={micro}"]))
    for _ in range(3):
        whole.step()
        split.step()
    expected, found = whole.state.tensors(), split.state.tensors()
    for name, tensor in expected.items():
        assert tensor.dtype in (torch.float64, torch.float32, torch.int64), name
        torch.testing.assert_close(found[name], tensor, rtol=1e-6, atol=1e-9, msg=name)
    means, *_ = whole.means.reduce(distributed, False, 1.0)
    split_means, *_ = split.means.reduce(distributed, False, 1.0)
    assert split_means == pytest.approx(means, rel=1e-9)


def test_g_and_d_accumulate_over_micro_batches_of_their_own(distributed, float64):
    whole, split = (stepper(gan_spec(*extra), distributed) for extra in ([], ["train.micro_batch={G: 2, D: 4}"]))
    passes: dict[str, list[int]] = {"D": [], "G": []}

    def counted(phase):
        def loss(nets, batch):
            passes[phase.name].append(len(batch.z))
            return phase.loss(nets, batch)

        return replace(phase, loss=loss)

    split.phases = tuple(counted(phase) for phase in split.phases)
    for _ in range(2):
        whole.step()
        split.step()
    assert passes == {"D": [4, 4] * 2, "G": [2, 2, 2, 2] * 2}
    for name, tensor in whole.state.tensors().items():
        torch.testing.assert_close(split.state.tensors()[name], tensor, rtol=1e-6, atol=1e-9, msg=name)


def test_gradients_are_corrected_between_the_last_micro_batch_and_the_optimiser(distributed, float64):
    runner = stepper(gan_spec("optimizers.G={kind: sgd, lr: 0.5}", "train.micro_batch=2"), distributed)
    net, seen = runner.state.players["G"].net, {}

    def correct(given):
        assert given is net
        seen["weights"] = [p.detach().clone() for p in net.parameters()]
        seen["gradients"] = [p.grad.clone() for p in net.parameters()]
        for parameter in net.parameters():
            parameter.grad.add_(1.0)
        return {"G/corrected": torch.tensor(3.0)}

    runner.phases = (replace(runner.phases[1], before_update={"G": correct}),)
    runner.step()
    for parameter, weights, gradient in zip(net.parameters(), seen["weights"], seen["gradients"], strict=True):
        torch.testing.assert_close(parameter.detach(), weights - 0.5 * (gradient + 1.0))
    assert runner.means.reduce(distributed, False, 1.0)[0]["G/corrected"] == 3.0


def test_micro_batches_get_the_latents_of_the_whole_batch_in_order(distributed):
    seen: list[torch.Tensor] = []
    for micro in (8, 2):
        runner = stepper(gan_spec(f"train.micro_batch={micro}"), distributed)
        drawn: list[torch.Tensor] = []

        def spy(nets, batch, phase=runner.phases[0], drawn=drawn):
            drawn.append(torch.cat([batch.z, batch.real.flatten(1), batch.fake_labels[:, None].float()], dim=1))
            return phase.loss(nets, batch)

        runner.phases = (replace(runner.phases[0], loss=spy),)
        runner.step()
        seen.append(torch.cat(drawn))
        assert len(drawn) == 8 // micro
    assert torch.equal(*seen)


def test_a_phase_changes_its_own_players_only(distributed):
    runner = stepper(dcgan_spec(), distributed)
    d_phase, g_phase = runner.phases
    for phase, moved, still in ((d_phase, "D", "G"), (g_phase, "G", "D")):
        runner.phases = (phase,)
        before = {name: [p.clone() for p in player.parameters] for name, player in runner.state.players.items()}
        runner.step()
        after = {name: player.parameters for name, player in runner.state.players.items()}
        assert all(torch.equal(a, b) for a, b in zip(before[still], after[still], strict=True))
        assert not all(torch.equal(a, b) for a, b in zip(before[moved], after[moved], strict=True))
        assert all(p.requires_grad for p in after[still])


def test_gradients_of_frozen_players_are_untouched(distributed):
    runner = stepper(gan_spec(), distributed)
    runner.phases = runner.phases[:1]
    runner.step()
    assert all(p.grad is None for p in runner.state.players["G"].parameters)
    marks = [torch.full_like(p, 7.0) for p in runner.state.players["D"].parameters]
    for parameter, mark in zip(runner.state.players["D"].parameters, marks, strict=True):
        parameter.grad = mark
    runner.phases = tuple(p for p in runner.state.family.phases(runner.state.spec) if p.name == "G")
    runner.step()
    assert all(
        p.grad is m and bool((m == 7.0).all()) for p, m in zip(runner.state.players["D"].parameters, marks, strict=True)
    )


def test_players_thaw_after_an_exception(distributed):
    state = TrainState.create(gan_spec(), distributed)
    with pytest.raises(RuntimeError, match="boom"), only(state.players, ("G",)):  # noqa: PT012
        assert not any(p.requires_grad for p in state.players["D"].parameters)
        assert all(p.requires_grad for p in state.players["G"].parameters)
        raise RuntimeError("boom")
    assert all(p.requires_grad for player in state.players.values() for p in player.parameters)


class NoHostSync(TorchDispatchMode):
    """Fails on operations that make the host wait for the device or read from it."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal.default", "_to_cpu")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(word in str(func) for word in self.FORBIDDEN):
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


def test_the_guard_against_host_syncs_catches_one():
    with pytest.raises(AssertionError, match="waits"), NoHostSync():
        torch.ones(1).item()


@pytest.mark.parametrize("recipe", ["gan-digits", "dcgan-digits", "wgan-gp-digits"])
def test_no_host_sync_in_a_step(distributed, recipe):
    small = ["arch.resolution=8", "train.batch=8", "resources.workers=1"]
    runner = stepper(with_overrides(recipes()[recipe](), small), distributed)
    runner.step()
    with NoHostSync():
        runner.step()
        runner.step()


def test_rates_follow_the_pure_schedule_of_images_and_updates(distributed):
    changes = [
        "optimizers.G={kind: sgd, lr: 0.1, momentum: 0.5, final_momentum: 0.7, schedule: {kind: exponential, decay: 0.5, final: 0.2}}",
        "optimizers.D={kind: adam, lr: 0.01, schedule: {kind: linear, start: 0.5, final: 0.0}}",
    ]
    runner = stepper(gan_spec(*changes), distributed)
    seen: dict[str, list[tuple[float, float | None]]] = {"G": [], "D": []}
    for name, player in runner.state.players.items():
        player.optimizer.register_step_pre_hook(
            lambda optimizer, args, kwargs, name=name: seen[name].append(
                (optimizer.param_groups[0]["lr"], optimizer.param_groups[0].get("momentum"))
            )
        )
    for _ in range(8):
        runner.step()
    images = [8 * (t + 1) for t in range(8)]  # the batch that the update learns from counts as shown
    assert [lr for lr, _ in seen["G"]] == pytest.approx([0.1 * max(0.2, 0.5**u) for u in range(8)])
    assert [m for _, m in seen["G"]] == pytest.approx([0.5 + 0.2 * i / 64 for i in images])
    assert [lr for lr, _ in seen["D"]] == pytest.approx([0.01 * min(1.0, 2 - 2 * i / 64) for i in images])


def test_ema_of_a_constant_follows_the_closed_form():
    net, average = torch.nn.Linear(3, 2).double(), torch.nn.Linear(3, 2).double()
    start = average.weight.detach().clone()
    for _ in range(10):
        averaging.update(average, net, 0.9)
    torch.testing.assert_close(average.weight.detach(), net.weight.detach() + 0.9**10 * (start - net.weight.detach()))


def test_ema_equals_the_naive_loop_and_copies_buffers(distributed):
    runner = stepper(dcgan_spec("ema.decay=0.8"), distributed)
    naive = parameters(runner.state)
    for _ in range(4):
        runner.step()
        for name, value in runner.state.players["G"].net.named_parameters():
            naive[f"ema/G/{name}"] = 0.8 * naive[f"ema/G/{name}"] + 0.2 * value.detach()
    ema, live = runner.state.averages["G"], runner.state.players["G"].net
    for name, value in ema.named_parameters():
        torch.testing.assert_close(value, naive[f"ema/G/{name}"], msg=name)
        assert not value.requires_grad
    for name, value in ema.named_buffers():
        assert torch.equal(value, dict(live.named_buffers())[name]), name
    assert not ema.training
    assert live.training


def test_ema_is_a_copy_until_its_start(distributed):
    runner = stepper(gan_spec("ema.decay=0.9", "ema.start_images=24"), distributed)
    equal = []
    for _ in range(4):
        runner.step()
        pairs = zip(runner.state.averages["G"].parameters(), runner.state.players["G"].net.parameters(), strict=True)
        equal.append(all(torch.equal(a, b) for a, b in pairs))
    assert equal == [True, True, False, False]


def test_repeats_draw_new_batches_and_the_clock_counts_them(distributed):
    runner = stepper(gan_spec("objective.d_steps=3"), distributed)
    runner.step()
    runner.step()
    clock = runner.state.clock
    assert (clock.step, clock.batches, clock.images, clock.updates) == (2, 6, 48, {"G": 2, "D": 6})


def test_a_phase_without_fresh_data_sees_the_last_real_batch_of_its_step(distributed):
    seen: list[torch.Tensor] = []

    def loss(nets, batch) -> Loss:
        seen.append(batch.real)
        return Loss(nets["D"](batch.real, batch.labels).sum() * 0, {})

    runner = stepper(gan_spec(), distributed)
    runner.phases = (
        Phase("first", ("D",), loss),
        Phase("fresh", ("D",), loss, repeats=lambda step: 2, fresh_data=True),
        Phase("last", ("D",), loss),
    )
    runner.step()
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])
    assert torch.equal(seen[2], seen[3])
    assert runner.state.clock.batches == 3
    assert runner.state.clock.updates["D"] == 4


def test_weight_clipping_runs_after_the_update(distributed):
    runner = stepper(gan_spec("objective.penalties=[{kind: clip, bound: 0.001}]"), distributed)
    runner.step()
    largest = {
        name: max(float(p.detach().abs().max()) for p in x.parameters) for name, x in runner.state.players.items()
    }
    assert largest["D"] == pytest.approx(0.001)
    assert largest["G"] > 0.002


def test_bf16_leaves_weights_gradients_and_losses_in_float32():
    from trainer.engine.distributed import Distributed

    spec = gan_spec("train.precision=bf16")
    runner = stepper(spec, Distributed.create(spec, world=1))
    kinds: set[torch.dtype] = set()
    runner.state.players["D"].net.register_forward_hook(lambda module, args, out: kinds.add(out.dtype))
    runner.step()
    assert kinds == {torch.bfloat16}
    assert {p.dtype for player in runner.state.players.values() for p in player.parameters} == {torch.float32}
    assert {p.grad.dtype for p in runner.state.players["D"].parameters} == {torch.float32}
    assert "forward" not in vars(runner.state.players["G"].net)  # the net that is exported stays plain
