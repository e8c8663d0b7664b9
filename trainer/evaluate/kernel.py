"""Kernel distance (KID): unbiased MMD² with a cubic kernel (Bińkowski et al. 2018, section 4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from trainer.evaluate.moments import Float64

SUBSETS = 100
SUBSET_SIZE = 1000


def cubic_kernel(x: Float64, y: Float64) -> Float64:
    """k(x, y) = (xᵀy / F + 1)³ for all pairs: [M, F], [N, F] → [M, N]."""
    base: Float64 = x @ y.T
    base /= x.shape[1]
    base += 1.0
    cubed: Float64 = base * base * base  # ten times as fast as the power function
    return cubed


def squared_mmd(x: Float64, y: Float64) -> float:
    """Unbiased estimate of MMD² (Gretton et al. 2012, Eq. 3) under the cubic kernel; may be slightly negative.

    x: [M, F], y: [N, F], each with at least two rows.
    """
    m, n = len(x), len(y)
    xx, yy = cubic_kernel(x, x), cubic_kernel(y, y)
    within_x = (xx.sum() - np.trace(xx)) / (m * (m - 1))
    within_y = (yy.sum() - np.trace(yy)) / (n * (n - 1))
    return float(within_x + within_y - 2.0 * cubic_kernel(x, y).mean())


def kernel_distance(
    x: ArrayLike, y: ArrayLike, *, subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE, seed: int = 0
) -> float:
    """KID: mean of `squared_mmd` over random subsets of features, drawn without replacement by `seed`.

    x: [M, F], y: [N, F]. A subset holds `subset_size` rows of each, or all of the smaller set. When a subset would be
    both sets whole, one suffices. Raises ValueError for fewer than two rows or different numbers of features.
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(f"features must be [at least 2, F] with one F, got {a.shape} and {b.shape}")
    size = min(subset_size, len(a), len(b))
    if size == len(a) == len(b):
        return squared_mmd(a, b)
    rng = np.random.default_rng(seed)
    draws = [
        squared_mmd(a[rng.choice(len(a), size, replace=False)], b[rng.choice(len(b), size, replace=False)])
        for _ in range(subsets)
    ]
    return float(np.mean(draws))
