"""Mean and covariance of a stream of features, mergeable over batches and ranks.

Shape legend: B batch, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Count, mean and scatter of feature vectors seen so far, in float64.

    `mean` is [F]; `scatter` [F, F] is Σ (x − mean)(x − mean)ᵀ, kept about the running mean (Chan, Golub & LeVeque 1983, Eq. 2.1), so that
    features far from zero lose no digits, as they do when E[xxᵀ] − μμᵀ is formed at the end.
    """

    count: int
    mean: Float64
    scatter: Float64

    @classmethod
    def empty(cls, features: int) -> Moments:
        """Moments of no vectors."""
        return cls(0, np.zeros(features), np.zeros((features, features)))

    @classmethod
    def of(cls, x_BF: ArrayLike) -> Moments:
        """Moments of a batch [B, F]. Raises ValueError for another shape or for values that are not finite."""
        x = np.asarray(x_BF, dtype=np.float64)
        if x.ndim != 2:
            raise ValueError(f"features must be [B, F], got shape {x.shape}")
        if not np.isfinite(x).all():
            raise ValueError("features hold NaN or infinity")
        if len(x) == 0:
            return cls.empty(x.shape[1])
        mean = x.mean(axis=0)
        centred = x - mean
        return cls(len(x), mean, centred.T @ centred)

    def merge(self, other: Moments) -> Moments:
        """Moments of both sets together; commutative and associative up to rounding."""
        if other.count == 0:
            return self
        if self.count == 0:
            return other
        total = self.count + other.count
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / total)
        spread = np.outer(delta, delta) * (self.count * other.count / total)
        return Moments(total, mean, self.scatter + other.scatter + spread)

    @property
    def covariance(self) -> Float64:
        """Unbiased covariance [F, F], scatter / (count − 1). Raises ValueError for fewer than two vectors."""
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 feature vectors, there are {self.count}")
        covariance: Float64 = self.scatter / (self.count - 1)
        return covariance
