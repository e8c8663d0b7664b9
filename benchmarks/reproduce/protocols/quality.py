"""The platform's own score over the training, and what the critic says of it.

Shape legend: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from benchmarks.reproduce.case import Case
from benchmarks.reproduce.figures import Figure
from benchmarks.reproduce.trained import Trained

WINDOW = 10
"""Progress reports before an evaluation over which the critic's estimate is averaged."""


def frechet(case: Case) -> Iterator[Figure]:
    """Fréchet distance to the training images, by the platform's evaluator; compare it at equal images and one extractor."""
    if curve := case.trained.score("fid"):
        images, value = curve[-1]
        yield Figure(f"Fréchet distance (dataset's own classifier) at {images:,} images", value, better="lower")


def critic_follows_quality(case: Case) -> Iterator[Figure]:
    """Rank correlation of the critic's estimate of W₁ with the Fréchet distance over the training (Arjovsky et al. 2017,
    figures 3 and 4). Near 1: the critic's loss falls as samples become better."""
    pairs = critic_and_quality(case.trained)
    if len(pairs) < 4:
        return
    estimates, distances = np.array(pairs)[:, 1], np.array(pairs)[:, 2]
    if np.ptp(estimates) == 0 or np.ptp(distances) == 0:
        return  # no correlation with a constant
    ranked, linear = spearmanr(estimates, distances), pearsonr(estimates, distances)
    yield Figure(
        f"rank correlation of critic's estimate and Fréchet distance ({len(pairs)} points)", float(ranked.statistic)
    )
    yield Figure("linear correlation of the two", float(linear.statistic))


def critic_and_quality(trained: Trained) -> list[tuple[int, float, float]]:
    """(images, critic's estimate of W₁, Fréchet distance) at each evaluation."""
    real, fake = dict(trained.metric("D/real")), dict(trained.metric("D/fake"))
    found = []
    for images, distance in trained.score("fid"):
        before = sorted(seen for seen in real if seen <= images and seen in fake)[-WINDOW:]
        if before:
            found.append((images, float(np.mean([real[seen] - fake[seen] for seen in before])), distance))
    return found


def gradient_norm(case: Case) -> Iterator[Figure]:
    """Norm of the critic's gradient between real test images and samples; the penalty pulls it to 1 (Gulrajani et al. 2017)."""
    count = min(case.scale.gradients, len(case.split("test")[0]))
    real = case.inputs("test")[0][:count]
    labels = torch.from_numpy(case.split("test")[1][:count]) if case.trained.spec.arch.conditional else None
    fake = case.trained.inputs(case.trained.sample(count, labels=None if labels is None else labels.tolist()))
    share = torch.rand(count, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    norms = gradient_norms(case.trained.nets.nets["D"], real + share * (fake - real), labels).numpy()
    error = float(norms.std(ddof=1) / np.sqrt(count))
    yield Figure(
        "norm of the critic's gradient between real and generated images", float(norms.mean()), error, paper="1"
    )


def gradient_norms(critic: torch.nn.Module, x_BCHW: Tensor, labels_B: Tensor | None) -> Tensor:
    """|∇ₓ D(x)| of each image: [B]."""
    parts = []
    for first in range(0, len(x_BCHW), 250):
        x = x_BCHW[first : first + 250].clone().requires_grad_(True)
        labels = None if labels_B is None else labels_B[first : first + 250]
        (gradient,) = torch.autograd.grad(critic(x, labels).sum(), x)
        parts.append(gradient.flatten(1).norm(dim=1))
    return torch.cat(parts)
