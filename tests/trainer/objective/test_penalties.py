"""Penalties against closed forms for linear and quadratic critics, and their gradients against numerical ones."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from trainer.families.dcgan.arch import DcganArch
from trainer.families.table import family
from trainer.objective.penalties import Judged, clip_, gradient_penalty, projections, r1, r2, terms
from trainer.objective.phases import Batch, adversarial
from trainer.spec import Adam, Data, JobSpec, Objective
from trainer.spec.sections import R1, R2, Clip, GradientPenalty

F64 = torch.float64


class Linear(nn.Module):
    """D(x) = w · x: ∇D = w everywhere."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return (x.flatten(1) * self.w).sum(dim=1)


class Quadratic(nn.Module):
    """D(x) = a/2 · ‖x‖²: ∇D = a x."""

    def __init__(self, a: float) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a, dtype=F64))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.a / 2 * x.flatten(1).square().sum(dim=1)


class Labelled(nn.Module):
    """D(x, y) = s_y · w · x: the slope depends on the label."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.0, 3.0], dtype=F64))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        assert labels is not None
        return self.scale[labels] * x.flatten(1)[:, 0]


def images(n: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(n, 1, 2, 2, dtype=F64, generator=torch.Generator().manual_seed(seed))


def test_gradient_penalty_of_a_linear_critic_is_its_slopes_distance_from_one_squared() -> None:
    w = torch.tensor([3.0, 0.0, -4.0, 0.0], dtype=F64)
    assert gradient_penalty(Linear(w), images(), images(seed=1), None).value.item() == pytest.approx((5.0 - 1.0) ** 2)
    assert gradient_penalty(Linear(w / 5), images(), images(seed=1), None).value.item() == pytest.approx(0.0, abs=1e-20)
    assert gradient_penalty(Linear(w / 10), images(), images(seed=1), None).value.item() == pytest.approx(
        0.25
    )  # two-sided


def test_gradient_penalty_is_taken_between_real_and_fake() -> None:
    """A quadratic critic shows the points: with the generator's ε known, x̂ = εx + (1 − ε)G(z)."""
    real, fake = images(), images(seed=1)
    torch.manual_seed(5)
    epsilon = torch.rand(len(real), 1, 1, 1, dtype=F64)
    points = epsilon * real + (1 - epsilon) * fake
    expected = (2.0 * points.flatten(1).norm(dim=1) - 1.0).square().mean().item()
    torch.manual_seed(5)
    assert gradient_penalty(Quadratic(2.0), real, fake, None).value.item() == pytest.approx(expected, rel=1e-12)


def test_r1_of_linear_and_quadratic_critics_is_half_the_squared_slope_on_real_images() -> None:
    w = torch.tensor([3.0, 0.0, -4.0, 0.0], dtype=F64)
    assert r1(Linear(w), images(), None).item() == pytest.approx(12.5)
    real = images()
    expected = 0.5 * 9.0 * real.flatten(1).square().sum(dim=1).mean().item()
    assert r1(Quadratic(3.0), real, None).item() == pytest.approx(expected, rel=1e-12)


def test_r2_of_a_quadratic_critic_is_half_the_squared_slope_on_generated_images() -> None:
    fake = images(seed=1)
    expected = 0.5 * 9.0 * fake.flatten(1).square().sum(dim=1).mean().item()
    assert r2(Quadratic(3.0), fake, None).item() == pytest.approx(expected, rel=1e-12)


def test_r1_and_r2_judge_their_own_images_with_their_own_labels() -> None:
    """A critic of slope 1 for label 0 and 3 for label 1, on real images of label 0 and fakes of label 1."""
    zeros, ones = torch.zeros(6, dtype=torch.int64), torch.ones(6, dtype=torch.int64)
    judged = Judged(images(), images(seed=1), zeros, ones)
    found = {term.name: term for term in terms(Objective(penalties=(R1(weight=2.0), R2(weight=3.0))))}
    assert {name: term.weight for name, term in found.items()} == {"r1": 2.0, "r2": 3.0}
    assert found["r1"].apply(Labelled(), judged).value.item() == pytest.approx(0.5)
    assert found["r2"].apply(Labelled(), judged).value.item() == pytest.approx(4.5)
    one_scale = {name: term.apply(Quadratic(1.0), judged).value.item() for name, term in found.items()}
    squares = {
        name: 0.5 * x.flatten(1).square().sum(1).mean().item() for name, x in (("r1", judged.real), ("r2", judged.fake))
    }
    assert one_scale == pytest.approx(squares)


def test_penalties_ask_d_with_the_labels() -> None:
    labels = torch.tensor([0, 1, 1, 0, 1, 1])
    slopes = torch.tensor([1.0, 3.0], dtype=F64)[labels]
    assert r1(Labelled(), images(), labels).item() == pytest.approx(0.5 * slopes.square().mean().item())
    penalty = gradient_penalty(Labelled(), images(), images(seed=1), labels).value
    assert penalty.item() == pytest.approx((slopes - 1).square().mean().item())


@pytest.mark.parametrize("kind", ["gradient-penalty", "r1", "r2"])
def test_gradient_by_the_weights_is_the_numerical_gradient(kind: str) -> None:
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.Softplus(), nn.Linear(5, 1), nn.Flatten(0)).to(F64)
    parameters = list(critic.parameters())

    def value() -> Tensor:
        torch.manual_seed(7)  # the same ε each time
        judge = lambda x, labels: critic(x)  # noqa: E731
        if kind == "r1":
            return r1(judge, images(), None)
        if kind == "r2":
            return r2(judge, images(seed=1), None)
        return gradient_penalty(judge, images(), images(seed=1), None).value

    gradients = torch.autograd.grad(value(), parameters, allow_unused=True)
    step = 1e-6
    for parameter, gradient in zip(parameters, gradients, strict=True):
        flat = parameter.data.view(-1)
        for i in range(len(flat)):
            start = flat[i].item()
            flat[i] = start + step
            above = value().item()
            flat[i] = start - step
            below = value().item()
            flat[i] = start
            found = 0.0 if gradient is None else gradient.view(-1)[i].item()
            assert found == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-8)


def test_gradient_penalty_at_slope_zero_has_a_finite_gradient() -> None:
    critic = Linear(torch.zeros(4, dtype=F64))
    penalty = gradient_penalty(critic, images(), images(seed=1), None).value
    penalty.backward()
    assert penalty.item() == 1.0
    assert torch.isfinite(critic.w.grad).all()


def test_penalties_send_gradients_to_d_alone() -> None:
    real, critic = images().requires_grad_(True), Quadratic(3.0)
    r1(critic, real, None).backward()
    assert critic.a.grad is not None
    assert real.grad is None


def test_clip_bounds_every_parameter_and_leaves_those_within() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[5.0, -5.0, 0.005]] * 3))
    clip_(net, 0.01)
    assert torch.equal(net[0].weight[0], torch.tensor([0.01, -0.01, 0.005]))
    assert all(parameter.abs().max() <= 0.01 for parameter in net.parameters())
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_the_spec_decides_terms_and_projections() -> None:
    objective = Objective(penalties=(R1(weight=4.0, interval=16), Clip(bound=0.5)))
    (term,) = terms(objective)
    assert (term.name, term.weight, term.interval) == ("r1", 4.0, 16)
    assert [step for step in range(40) if term.due(step)] == [0, 16, 32]
    net = nn.Linear(2, 2)
    nn.init.constant_(net.weight, 3.0)
    (project,) = projections(objective)
    project(net)
    assert net.weight.max().item() == 0.5
    assert terms(Objective()) == ()
    assert projections(Objective()) == ()


@pytest.mark.parametrize(("interval", "weight"), product([1, 4], [10.0]))
def test_terms_values_are_the_functions(interval: int, weight: float) -> None:
    both = Objective(
        penalties=(GradientPenalty(weight=weight, interval=interval), R1(weight=weight, interval=interval))
    )
    critic, judged = (
        Linear(torch.tensor([3.0, 0.0, -4.0, 0.0], dtype=F64)),
        Judged(images(), images(seed=1), None, None),
    )
    penalty, on_real = (term.apply(critic, judged) for term in terms(both))
    assert penalty.value.item() == pytest.approx(16.0)
    assert penalty.metrics["gradient_norm"].item() == pytest.approx(5.0)
    assert on_real.value.item() == pytest.approx(12.5)


@pytest.mark.parametrize("interval", [1, 3])
def test_ds_loss_is_the_adversarial_one_and_each_penalty_by_weight_and_interval(interval: int) -> None:
    arch = DcganArch(resolution=8, g_width=4, d_width=4, d_norm="layer")
    penalties = (
        GradientPenalty(weight=2.0, interval=interval), R1(weight=5.0, interval=interval), R2(weight=7.0, interval=interval),
    )  # fmt: skip
    optimizers = {"G": Adam(), "D": Adam()}
    spec = JobSpec(
        arch=arch, data=Data(url="data/any"), optimizers=optimizers, objective=Objective(penalties=penalties)
    )
    torch.manual_seed(0)
    nets = family("dcgan").build(arch)
    real, z = torch.randn(4, 1, 8, 8), torch.randn(4, 100)
    found = adversarial(spec)[0].loss(nets, Batch(real, None, z, None, 0))
    parts = {name: value.item() for name, value in found.metrics.items()}
    expected = parts["D/loss"] + interval * (2 * parts["D/gradient_penalty"] + 5 * parts["D/r1"] + 7 * parts["D/r2"])
    assert found.total.item() == pytest.approx(expected, rel=1e-5)
    assert parts["D/gradient_norm"] > 0.0
    if interval > 1:
        between = adversarial(spec)[0].loss(nets, Batch(real, None, z, None, 1))
        assert between.total.item() == pytest.approx(between.metrics["D/loss"].item())
        assert "D/gradient_norm" not in between.metrics
