"""Bounds of log p(x) on a linear Gaussian model, whose marginal likelihood and posterior are known in closed form."""

from __future__ import annotations

from math import log, pi

import numpy as np
import pytest
import torch
from scipy.stats import bernoulli, multivariate_normal
from torch import Tensor

from trainer.evaluate.likelihood import Bounds, LogJoint, Propose, bounds, log_bernoulli, log_normal

NOISE = 0.5
W = torch.tensor([[1.0, -0.5], [0.3, 0.8], [0.0, 1.2]], dtype=torch.float64)
"""x = W z + N(0, NOISE² I), z ~ N(0, I)."""
X = torch.tensor([[0.4, -1.0, 0.2], [2.0, 0.1, -0.7], [0.0, 0.0, 0.0]], dtype=torch.float64)


def log_joint(x: Tensor, z_SNZ: Tensor) -> Tensor:
    return log_normal(
        x.expand(len(z_SNZ), -1, -1), z_SNZ @ W.T, torch.tensor(2 * log(NOISE), dtype=torch.float64)
    ) + log_normal(z_SNZ)


def proposal(wrong: float, seed: int = 0) -> Propose:
    """The posterior of z, with its mean off by `wrong` in every dimension."""
    generator = torch.Generator().manual_seed(seed)
    covariance = torch.linalg.inv(torch.eye(2, dtype=torch.float64) + W.T @ W / NOISE**2)
    factor = torch.linalg.cholesky(covariance)

    def propose(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
        mean = x @ W @ covariance / NOISE**2 + wrong
        noise = torch.randn(count, len(x), 2, generator=generator, dtype=torch.float64)
        return mean + noise @ factor.T, log_normal(noise) - factor.diagonal().log().sum()

    return propose


def truth() -> np.ndarray:
    covariance = (W @ W.T).numpy() + NOISE**2 * np.eye(3)
    return np.asarray(multivariate_normal(np.zeros(3), covariance).logpdf(X.numpy()))


def divergence(wrong: float) -> float:
    """KL of the shifted posterior from the posterior: ½ dᵀ Σ⁻¹ d."""
    precision = torch.eye(2, dtype=torch.float64) + W.T @ W / NOISE**2
    return 0.5 * wrong**2 * float(precision.sum())


def found(wrong: float, samples: int, joint: LogJoint = log_joint) -> Bounds:
    return bounds(X, proposal(wrong), joint, samples, at_once=7)


@pytest.mark.parametrize("samples", [1, 20])
def test_with_the_posterior_as_proposal_both_bounds_are_the_log_likelihood(samples: int) -> None:
    both = found(0.0, samples)
    np.testing.assert_allclose(both.elbo.numpy(), truth(), rtol=1e-9)
    np.testing.assert_allclose(both.weighted.numpy(), truth(), rtol=1e-9)


def test_with_another_proposal_the_elbo_falls_short_by_the_divergence() -> None:
    np.testing.assert_allclose(found(0.3, 10_000).elbo.numpy(), truth() - divergence(0.3), atol=0.03)


def test_the_weighted_bound_rises_to_the_log_likelihood_with_the_number_of_samples() -> None:
    means = [
        np.mean([bounds(X, proposal(0.3, seed), log_joint, s).weighted.numpy() for seed in range(100)], axis=0)
        for s in (1, 5, 50)
    ]
    assert (means[0] < means[1]).all()
    assert (means[1] < means[2]).all()
    assert (means[2] < truth() + 0.03).all()
    np.testing.assert_allclose(found(0.3, 10_000).weighted.numpy(), truth(), atol=0.03)


def test_one_sample_makes_both_bounds_the_same() -> None:
    both = found(0.3, 1)
    assert torch.equal(both.elbo, both.weighted)


def test_fewer_than_one_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="samples is 0"):
        found(0.0, 0)


def test_densities_are_scipys() -> None:
    logits, x = torch.tensor([0.3, -2.0, 4.0]), torch.tensor([1.0, 0.0, 1.0])
    expected = bernoulli(torch.sigmoid(logits).numpy()).logpmf(x.numpy()).sum()
    assert float(log_bernoulli(x, logits)) == pytest.approx(float(expected), rel=1e-5)
    z = torch.tensor([0.5, -1.0], dtype=torch.float64)
    assert float(log_normal(z)) == pytest.approx(-log(2 * pi) - 0.625)
