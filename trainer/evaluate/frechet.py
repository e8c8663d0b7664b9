"""Fréchet distance between Gaussians: the formula of FID (Heusel et al. 2017, Eq. 6; Dowson & Landau 1982)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from trainer.evaluate.moments import Float64


def frechet_distance(mu1: ArrayLike, cov1: ArrayLike, mu2: ArrayLike, cov2: ArrayLike) -> float:
    """Squared Fréchet distance |μ₁ − μ₂|² + tr(C₁ + C₂ − 2 (C₁C₂)^½) between N(μ₁, C₁) and N(μ₂, C₂); at least 0.

    With Cᵢ = Sᵢ Sᵢᵀ the trace of (C₁C₂)^½ is the sum of the singular values of S₁ᵀ S₂. That needs no square root of a
    non-symmetric product, which for singular covariances (fewer samples than features) is ill-conditioned and comes
    out complex; so no εI is added to the covariances either.

    mu: [F]; cov: [F, F], symmetric and positive semi-definite. Raises ValueError for shapes that don't fit together, and for
    NaN or infinity, of which a maximum with 0 would make the best of scores.
    """
    m1, m2 = np.asarray(mu1, dtype=np.float64), np.asarray(mu2, dtype=np.float64)
    c1, c2 = np.asarray(cov1, dtype=np.float64), np.asarray(cov2, dtype=np.float64)
    if m1.ndim != 1 or m1.shape != m2.shape or c1.shape != c2.shape or c1.shape != (len(m1), len(m1)):
        raise ValueError(f"means {m1.shape}, {m2.shape} and covariances {c1.shape}, {c2.shape} don't fit together")
    for name, given in (("means", (m1, m2)), ("covariances", (c1, c2))):
        if not all(np.isfinite(values).all() for values in given):
            raise ValueError(
                f"{name} hold NaN or infinity: there is no distance; look at the features that they are of"
            )
    overlap = np.linalg.svd(_factor(c1).T @ _factor(c2), compute_uv=False).sum()
    distance = np.sum((m1 - m2) ** 2) + np.trace(c1) + np.trace(c2) - 2.0 * overlap
    return max(0.0, float(distance))


def _factor(cov_FF: Float64) -> Float64:
    """S [F, R] with S Sᵀ = cov, R its numerical rank: eigenvalues that are rounding noise would enter as square roots."""
    values, vectors = np.linalg.eigh(cov_FF)
    kept = values > max(values[-1], 0.0) * len(values) * np.finfo(np.float64).eps
    factor: Float64 = vectors[:, kept] * np.sqrt(values[kept])
    return factor
