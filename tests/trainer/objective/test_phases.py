"""The adversarial phases: who steps on what, and that D's one concatenated pass equals two where it is allowed."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainer.families.dcgan.arch import DcganArch
from trainer.families.gan.arch import GanArch
from trainer.families.table import family
from trainer.objective.losses import LOSSES
from trainer.objective.phases import Batch, Loss, Phase, adversarial, bare
from trainer.spec import Adam, JobSpec, Objective
from trainer.spec.sections import R1, R2, Clip, GradientPenalty


def make_spec(**objective: Any) -> JobSpec:
    return JobSpec(arch=GanArch(), optimizers={"G": Adam(), "D": Adam()}, objective=Objective(**objective))


class G(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(2.0))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return (self.w * z)[:, :, None, None]


class D(nn.Module):
    """Counts its calls and remembers whether the images it saw could carry gradients to G."""

    def __init__(self, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.5))
        self.norm = norm
        self.calls: list[tuple[int, bool, Tensor | None]] = []

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        self.calls.append((len(x), x.requires_grad, labels))
        x = self.norm(x) if self.norm else x
        return self.w * x.flatten()


def batch(labels: bool = False, step: int = 0) -> Batch:
    real = torch.tensor([1.0, 2.0, 3.0])[:, None, None, None]
    y = torch.tensor([0, 1, 0]) if labels else None
    fake_y = torch.tensor([1, 1, 0]) if labels else None
    return Batch(real, y, torch.tensor([[-1.0], [0.5], [4.0]]), fake_y, step)


def run(phase: Phase, nets: dict[str, Any], **kwargs: Any) -> Loss:
    return phase.loss(nets, batch(**kwargs))


def test_d_steps_on_new_batches_as_often_as_the_spec_says_and_then_g_once() -> None:
    d, g = adversarial(make_spec(loss="wasserstein", d_steps=5, penalties=(Clip(),)))
    assert (d.players, g.players) == (("D",), ("G",))
    assert [d.repeats(step) for step in (0, 7)] == [5, 5]
    assert g.repeats(0) == 1
    assert d.fresh_data
    assert not g.fresh_data
    assert len(d.after_update) == 1
    assert g.after_update == ()


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_the_pairs_values_on_the_logits(loss: Any) -> None:
    d, g = adversarial(make_spec(loss=loss))
    nets = {"G": G(), "D": D()}
    real, fake = torch.tensor([0.5, 1.0, 1.5]), torch.tensor([-1.0, 0.5, 4.0])
    assert run(d, nets).total.item() == pytest.approx(LOSSES[loss].d(real, fake).item())
    assert run(g, nets).total.item() == pytest.approx(LOSSES[loss].g(fake, real).item())


def test_ds_phase_sends_no_gradient_to_g_and_gs_phase_does() -> None:
    d, g = adversarial(make_spec())
    nets = {"G": G(), "D": D()}
    run(d, nets).total.backward()
    assert nets["G"].w.grad is None
    assert nets["D"].w.grad is not None
    assert nets["D"].calls[0][1] is False
    run(g, nets).total.backward()
    assert nets["G"].w.grad is not None


def test_d_sees_real_and_fake_in_one_pass_with_their_labels() -> None:
    d, _ = adversarial(make_spec())
    nets = {"G": G(), "D": D()}
    run(d, nets, labels=True)
    ((size, _, labels),) = nets["D"].calls
    assert size == 6
    assert labels is not None
    assert labels.tolist() == [0, 1, 0, 1, 1, 0]


def asked_and_judged(penalties: tuple[Any, ...], norm: nn.Module | None) -> tuple[list[Any], list[Any]]:
    """The labels that G is asked for, and those that D judges by, in both phases."""
    d, g = adversarial(make_spec(penalties=penalties))
    asked: list[Any] = []
    inner = G()
    nets = {"G": lambda z, labels: (asked.append(labels.tolist()), inner(z))[1], "D": D(norm)}
    run(d, nets, labels=True)
    run(g, nets, labels=True)
    return asked, [labels.tolist() for _, _, labels in nets["D"].calls]


REAL_LABELS, FAKE_LABELS = [0, 1, 0], [1, 1, 0]


@pytest.mark.parametrize("norm", [None, nn.BatchNorm2d(1)])
def test_every_net_is_asked_with_the_labels_of_its_images(norm: nn.Module | None) -> None:
    """Real images go with their labels, generated ones with those that G was asked for, also in penalties and in G's phase."""
    asked, seen = asked_and_judged((R1(), R2()), norm)
    assert asked == [FAKE_LABELS, FAKE_LABELS]
    judged = [REAL_LABELS + FAKE_LABELS] if norm is None else [REAL_LABELS, FAKE_LABELS]
    assert seen == [*judged, REAL_LABELS, FAKE_LABELS, FAKE_LABELS]


@pytest.mark.parametrize("norm", [None, nn.BatchNorm2d(1)])
def test_images_between_real_and_generated_ones_are_of_one_label(norm: nn.Module | None) -> None:
    """The gradient penalty is of a critic for each label: both ends of a line have the label by which it is judged."""
    asked, seen = asked_and_judged((GradientPenalty(),), norm)
    assert asked == [REAL_LABELS, FAKE_LABELS]
    judged = [REAL_LABELS + REAL_LABELS] if norm is None else [REAL_LABELS, REAL_LABELS]
    assert seen == [*judged, REAL_LABELS, FAKE_LABELS]


def test_d_with_batch_statistics_sees_them_in_two_passes() -> None:
    d, _ = adversarial(make_spec())
    nets = {"G": G(), "D": D(nn.BatchNorm2d(1))}
    run(d, nets)
    assert [call[0] for call in nets["D"].calls] == [3, 3]


def test_one_pass_equals_two_where_d_treats_samples_alone() -> None:
    arch = DcganArch(resolution=8, d_width=4, g_width=4, d_norm="layer", classes=3)
    spec = JobSpec(
        arch=arch.replace(classes=10), optimizers={"G": Adam(), "D": Adam()}, objective=Objective(loss="hinge")
    )
    torch.manual_seed(0)
    built = {name: net.double() for name, net in family("dcgan").build(arch).items()}
    labels = torch.tensor([0, 1, 2, 0])
    one = Batch(torch.randn(4, 1, 8, 8).double(), labels, torch.randn(4, 100).double(), labels.flip(0), 0)
    found: list[list[Tensor]] = []
    for split in (False, True):
        nets = {**built, "D": deepcopy(built["D"])}
        nets["D"].batch_statistics = split
        total = adversarial(spec)[0].loss(nets, one).total
        total.backward()
        found.append([total.detach(), *(parameter.grad.clone() for parameter in nets["D"].parameters())])
    for joined, separate in zip(*found, strict=True):
        torch.testing.assert_close(joined, separate, rtol=1e-10, atol=1e-12)


def test_metrics_are_detached_scalars() -> None:
    for phase in adversarial(make_spec(penalties=(GradientPenalty(),))):
        metrics = run(phase, {"G": G(), "D": D()}).metrics
        assert all(not value.requires_grad and value.shape == () for value in metrics.values())


def test_metrics_tell_mean_logits_and_how_often_d_is_right() -> None:
    d, g = adversarial(make_spec())
    nets = {"G": G(), "D": D()}  # logits: real .5, 1, 1.5; fake −1, .5, 4
    metrics = {name: round(value.item(), 5) for name, value in run(d, nets).metrics.items()}
    assert metrics["D/real"] == 1.0
    assert metrics["D/fake"] == 1.16667
    assert metrics["D/accuracy_real"] == 1.0
    assert metrics["D/accuracy_fake"] == 0.33333
    assert set(run(g, nets).metrics) == {"G/loss"}
    wasserstein, _ = adversarial(make_spec(loss="wasserstein"))
    assert not any("accuracy" in name for name in run(wasserstein, nets).metrics)


def test_least_squares_calls_an_image_real_above_one_half() -> None:
    d, _ = adversarial(make_spec(loss="least-squares"))
    nets = {"G": lambda z, labels: z[:, :, None, None] / 10, "D": lambda x, labels: x.flatten() / 4}
    metrics = run(d, nets).metrics  # logits: real .25, .5, .75; fake −.025, .0125, .1
    assert metrics["D/accuracy_real"].item() == pytest.approx(1 / 3)
    assert metrics["D/accuracy_fake"].item() == 1.0


def test_a_lazy_penalty_comes_every_interval_and_weighs_interval_times() -> None:
    always, _ = adversarial(make_spec(penalties=(R1(weight=2.0, interval=1),)))
    lazy, _ = adversarial(make_spec(penalties=(R1(weight=2.0, interval=4),)))
    plain, _ = adversarial(make_spec())
    nets = {"G": G(), "D": D()}
    base = run(plain, nets).total.item()
    penalty = 2.0 * 0.5 * 0.25  # ∇D = .5
    assert run(always, nets).total.item() - base == pytest.approx(penalty)
    assert run(lazy, nets, step=4).total.item() - base == pytest.approx(4 * penalty)
    assert run(lazy, nets, step=5).total.item() == pytest.approx(base)
    assert "D/r1" not in run(lazy, nets, step=5).metrics
    assert run(lazy, nets, step=4).metrics["D/r1"].item() == pytest.approx(0.125)  # unweighted


class Wrapper(nn.Module):
    """Stands for DDP: its own forward must be called once per backward."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.calls = 0

    def forward(self, *args: Any) -> Any:
        self.calls += 1
        return self.module(*args)


def test_penalties_go_around_ddps_wrapper_and_the_loss_through_it() -> None:
    inner = D()
    wrapped = Wrapper(inner)
    assert bare(wrapped) is inner
    assert bare(inner) is inner
    d, _ = adversarial(make_spec(penalties=(GradientPenalty(), R1())))
    run(d, {"G": G(), "D": wrapped})
    assert wrapped.calls == 1
    assert len(inner.calls) == 3


def test_bf16_logits_are_judged_in_float32() -> None:
    d, g = adversarial(make_spec())
    nets = {"G": lambda z, labels: z[:, :, None, None].bfloat16(), "D": lambda x, labels: x.flatten().bfloat16()}
    assert run(d, nets).total.dtype == torch.float32
    assert run(g, nets).total.dtype == torch.float32
