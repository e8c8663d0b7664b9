"""Losses against closed forms, numerical gradients and the extremes."""

from __future__ import annotations

from math import exp, log
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.objective.losses import LOSSES
from trainer.spec.sections import LossName

REAL = torch.tensor([2.0, -1.0, 0.25], dtype=torch.float64)
FAKE = torch.tensor([-3.0, 0.5, 1.5], dtype=torch.float64)


def sigmoid(logits: Tensor) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-logits.numpy()))


def mean(values: object) -> float:
    return float(np.mean(values))


EXPECTED = {  # written from the papers' formulas with D = sigmoid(logit), in NumPy
    "minimax": (
        -(mean(np.log(sigmoid(REAL))) + mean(np.log(1 - sigmoid(FAKE)))),
        mean(np.log(1 - sigmoid(FAKE))),
    ),
    "non-saturating": (
        -(mean(np.log(sigmoid(REAL))) + mean(np.log(1 - sigmoid(FAKE)))),
        -mean(np.log(sigmoid(FAKE))),
    ),
    "hinge": ((0 + 2.0 + 0.75) / 3 + (0 + 1.5 + 2.5) / 3, 1.0 / 3),
    "wasserstein": (-1.0 / 3 - 1.25 / 3, 1.0 / 3),
    "least-squares": (
        0.5 * (1.0 + 4.0 + 0.5625) / 3 + 0.5 * (9.0 + 0.25 + 2.25) / 3,
        0.5 * (16.0 + 0.25 + 0.25) / 3,
    ),
    "relativistic": (
        sum(log(1.0 + exp(f - r)) for r, f in zip(REAL.tolist(), FAKE.tolist(), strict=True)) / 3,
        sum(log(1.0 + exp(r - f)) for r, f in zip(REAL.tolist(), FAKE.tolist(), strict=True)) / 3,
    ),
}


def test_every_loss_of_the_spec_has_a_pair_and_an_expectation() -> None:
    assert set(LOSSES) == set(get_args(LossName)) - {"own"} == set(EXPECTED)


@pytest.mark.parametrize("name", LOSSES)
def test_value_is_the_papers_formula(name: LossName) -> None:
    d, g = EXPECTED[name]
    assert LOSSES[name].d(REAL, FAKE).item() == pytest.approx(d, rel=1e-12)
    assert LOSSES[name].g(FAKE, REAL).item() == pytest.approx(g, rel=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_is_the_numerical_gradient(name: LossName) -> None:
    real, fake = REAL.clone().requires_grad_(True), FAKE.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(LOSSES[name].d, (real, fake), eps=1e-6, atol=1e-8)
    assert torch.autograd.gradcheck(LOSSES[name].g, (fake, REAL), eps=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["minimax", "non-saturating"])
@pytest.mark.parametrize("density", [(0.5, 0.5), (0.1, 0.9), (0.25, 0.75)])
def test_minimax_value_of_the_best_d_is_minus_log_4_for_equal_distributions(
    name: LossName, density: tuple[float, float]
) -> None:
    """Goodfellow et al. 2014, Theorem 1: with p_g = p_data, D* = 1/2 and V = −log 4; found here by descent on D."""
    counts = [round(20 * p) for p in density]
    logits = torch.tensor([1.3, -0.8], dtype=torch.float64, requires_grad=True)  # D on a space of two points
    for _ in range(2000):
        samples = torch.cat([logits[i].expand(n) for i, n in enumerate(counts)])
        value = LOSSES[name].d(samples, samples)
        (gradient,) = torch.autograd.grad(value, logits)
        logits = (logits - 2.0 * gradient).detach().requires_grad_(True)
    assert -value.item() == pytest.approx(-log(4.0), abs=1e-6)
    assert torch.sigmoid(logits).detach().numpy() == pytest.approx([0.5, 0.5], abs=1e-3)


def test_minimax_value_of_the_best_d_gives_the_jensen_shannon_divergence() -> None:
    """Goodfellow et al. 2014, Eq. 2 and 5: D* = p/(p + q), V* = −log 4 + 2 · JSD(p, q)."""
    p, q = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.3, 0.6])
    best = torch.from_numpy(np.log(p / q))  # the logit of p / (p + q)
    pick = lambda weights: torch.cat([best[i].expand(round(10 * w)) for i, w in enumerate(weights)])  # noqa: E731
    m = (p + q) / 2
    jsd = 0.5 * (p * np.log(p / m)).sum() + 0.5 * (q * np.log(q / m)).sum()
    assert -LOSSES["minimax"].d(pick(p), pick(q)).item() == pytest.approx(-log(4.0) + 2 * jsd, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [1e2, 1e4, 1e8])
def test_extreme_logits_stay_finite(name: LossName, size: float, dtype: torch.dtype) -> None:
    logits = torch.tensor([-size, size], dtype=dtype, requires_grad=True)
    d, g = LOSSES[name].d(logits, logits.flip(0)), LOSSES[name].g(logits, logits.flip(0))
    (gradient,) = torch.autograd.grad(d + g, logits)
    assert torch.isfinite(d)
    assert torch.isfinite(g)
    assert torch.isfinite(gradient).all()


def test_minimax_saturates_where_non_saturating_does_not() -> None:
    """At a fake that D rejects with logit −10, G's gradient is σ(−10) in one and 1 − σ(−10) in the other."""
    fake = torch.tensor([-10.0], dtype=torch.float64, requires_grad=True)
    (saturated,) = torch.autograd.grad(LOSSES["minimax"].g(fake), fake)
    (useful,) = torch.autograd.grad(LOSSES["non-saturating"].g(fake), fake)
    small = 1.0 / (1.0 + exp(10.0))
    assert saturated.item() == pytest.approx(-small, rel=1e-9)
    assert useful.item() == pytest.approx(-(1.0 - small), rel=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_a_mean_so_micro_batches_average_to_the_batch(name: LossName) -> None:
    torch.manual_seed(0)
    real, fake = torch.randn(12, dtype=torch.float64), torch.randn(12, dtype=torch.float64)
    pair = LOSSES[name]
    parts = [pair.d(r, f) for r, f in zip(real.split(4), fake.split(4), strict=True)]
    assert torch.stack(parts).mean().item() == pytest.approx(pair.d(real, fake).item(), rel=1e-12)
    assert torch.stack(
        [pair.g(f, r) for r, f in zip(real.split(4), fake.split(4), strict=True)]
    ).mean().item() == pytest.approx(pair.g(fake, real).item(), rel=1e-12)


def test_the_relativistic_pair_judges_differences_so_a_shift_of_d_changes_nothing() -> None:
    pair = LOSSES["relativistic"]
    assert pair.relativistic
    assert pair.d(REAL + 7.0, FAKE + 7.0).item() == pytest.approx(pair.d(REAL, FAKE).item(), rel=1e-12)
    assert pair.g(FAKE - 3.0, REAL - 3.0).item() == pytest.approx(pair.g(FAKE, REAL).item(), rel=1e-12)
    assert pair.d(REAL, REAL).item() == pytest.approx(log(2.0), rel=1e-12)  # nothing to tell apart
    assert pair.g(FAKE, REAL).item() == pytest.approx(pair.d(FAKE, REAL).item(), rel=1e-12)  # G plays D's game reversed


def test_the_relativistic_gradients_of_real_and_fake_are_opposite_and_of_pairs_alone() -> None:
    """∂/∂D(x) = −σ(D(G(z)) − D(x)) / B of the row's own pair, and ∂/∂D(G(z)) is its negative."""
    real, fake = REAL.clone().requires_grad_(True), FAKE.clone().requires_grad_(True)
    expected = -torch.sigmoid(FAKE - REAL) / len(REAL)
    of_real, of_fake = torch.autograd.grad(LOSSES["relativistic"].d(real, fake), (real, fake))
    torch.testing.assert_close(of_real, expected)
    torch.testing.assert_close(of_fake, -expected)
    assert torch.autograd.gradcheck(LOSSES["relativistic"].g, (fake, real), eps=1e-6, atol=1e-8)


def test_the_relativistic_loss_of_g_without_real_logits_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match="needs D's logits of real images"):
        LOSSES["relativistic"].g(FAKE)
