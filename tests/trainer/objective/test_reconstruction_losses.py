"""Autoencoders' losses against torch.distributions and naive loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence

from trainer.objective.reconstruction import (
    absolute_error,
    cross_entropy,
    gaussian_divergence,
    reparametrised,
    squared_error,
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("loss", "distance"),
    [(squared_error, lambda a, b: (a - b) ** 2), (absolute_error, lambda a, b: abs(a - b))],
)
def test_errors_are_summed_over_pixels_and_averaged_over_images(loss, distance) -> None:
    logits, images = random(3, 2, 4, 4), random(3, 2, 4, 4, seed=1).sigmoid()
    total = 0.0
    for image, logit in zip(images.flatten().tolist(), logits.flatten(), strict=True):
        total += distance(image, logit.sigmoid().item())
    assert loss(logits, images).item() == pytest.approx(total / 3)


def test_cross_entropy_is_minus_the_log_likelihood_of_bernoulli_pixels() -> None:
    logits, binary = random(4, 1, 5, 5), (random(4, 1, 5, 5, seed=1) > 0).double()
    expected = -Bernoulli(logits=logits).log_prob(binary).sum(dim=(1, 2, 3)).mean()
    torch.testing.assert_close(cross_entropy(logits, binary), expected)
    grey = random(4, 1, 5, 5, seed=2).sigmoid()  # between two binary images it is linear
    mixed = [Bernoulli(logits=logits).log_prob(torch.full_like(grey, value)) for value in (1.0, 0.0)]
    expected = -(grey * mixed[0] + (1 - grey) * mixed[1]).sum(dim=(1, 2, 3)).mean()
    torch.testing.assert_close(cross_entropy(logits, grey), expected)


def test_cross_entropy_is_finite_where_the_decoder_is_sure_and_wrong() -> None:
    logits = torch.full((1, 1, 2, 2), 1000.0, requires_grad=True)
    loss = cross_entropy(logits, torch.zeros(1, 1, 2, 2))
    loss.backward()
    assert loss.item() == 4000.0
    assert torch.isfinite(logits.grad).all()


def test_divergence_is_that_of_torch_distributions() -> None:
    mean, log_variance = random(6, 3), random(6, 3, seed=1)
    prior = Normal(torch.zeros(3).double(), torch.ones(3).double())
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), prior).sum(dim=1).mean()
    torch.testing.assert_close(gaussian_divergence(mean, log_variance), expected)
    assert gaussian_divergence(torch.zeros(2, 3), torch.zeros(2, 3)).item() == 0.0


def test_reparametrised_samples_have_the_posteriors_moments_and_carry_its_gradient() -> None:
    torch.manual_seed(0)
    mean = torch.full((20_000, 1), 1.5, requires_grad=True)
    log_variance = torch.full((20_000, 1), -1.0, requires_grad=True)
    z = reparametrised(mean, log_variance)
    assert z.mean().item() == pytest.approx(1.5, abs=0.02)
    assert z.var().item() == pytest.approx(torch.tensor(-1.0).exp().item(), rel=0.03)
    # E z² = μ² + σ², so its derivatives are 2μ by μ and σ² by log σ².
    z.square().mean().backward()
    assert mean.grad.sum().item() == pytest.approx(3.0, rel=0.02)
    assert log_variance.grad.sum().item() == pytest.approx(torch.tensor(-1.0).exp().item(), rel=0.05)
