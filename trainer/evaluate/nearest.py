"""Error of a nearest-neighbour classifier (k = 1): how well generated images, or an encoder's features, stand for classes.

Used as Radford et al. 2016 (the classifier's training set is generated) and Donahue et al. 2017 (features of E) do.

Shape legend: N queries, M labelled points, F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

_QUERIES, _POINTS = 1000, 5000


@dataclass(frozen=True)
class Share:
    """A share in [0, 1] of `count` cases and its standard error √(p (1 − p) / count)."""

    value: float
    count: int

    @classmethod
    def of(cls, hits: ArrayLike) -> Share:
        """The share of cases that hold. Raises ValueError for none."""
        found = np.asarray(hits, dtype=bool)
        if not found.size:
            raise ValueError("a share needs at least 1 case")
        return cls(float(found.mean()), int(found.size))

    @property
    def standard_error(self) -> float:
        """Of a share of independent cases."""
        return sqrt(self.value * (1.0 - self.value) / self.count)

    @property
    def complement(self) -> Share:
        """The share of the other cases."""
        return Share(1.0 - self.value, self.count)


def nearest(queries: NDArray[np.generic], points: NDArray[np.generic]) -> NDArray[np.int64]:
    """Index of each query's nearest point (Euclidean; the first of equals): [N] in [0, M).

    queries: [N, F], points: [M, F], any real dtype; distances are float64, so that integers below 2²⁶ are compared
    exactly. Memory is a block of the distance matrix. Raises ValueError for other shapes or no points.
    """
    if queries.ndim != 2 or points.ndim != 2 or queries.shape[1] != points.shape[1] or not len(points):
        raise ValueError(f"queries and points must be [N, F] and [at least 1, F], got {queries.shape}, {points.shape}")
    best = np.full(len(queries), np.inf)
    found = np.zeros(len(queries), np.int64)
    for first in range(0, len(points), _POINTS):
        block = points[first : first + _POINTS].astype(np.float64)
        norms = (block**2).sum(axis=1)
        for start in range(0, len(queries), _QUERIES):
            rows = slice(start, start + _QUERIES)
            relative = norms - 2.0 * (queries[rows].astype(np.float64) @ block.T)  # |q|² is the same for every point
            index = relative.argmin(axis=1)
            distance = relative[np.arange(len(index)), index]
            closer = distance < best[rows]
            best[rows] = np.where(closer, distance, best[rows])
            found[rows] = np.where(closer, first + index, found[rows])
    return found


def nearest_error(
    queries: NDArray[np.generic], truth: NDArray[np.int64], points: NDArray[np.generic], labels: NDArray[np.int64]
) -> Share:
    """Share of queries whose nearest point has another label. truth: [N], labels: [M]."""
    if len(truth) != len(queries) or len(labels) != len(points):
        raise ValueError(f"{len(queries)} queries, {len(truth)} labels; {len(points)} points, {len(labels)} labels")
    return Share.of(labels[nearest(queries, points)] != truth)
