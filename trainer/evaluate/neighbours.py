"""Improved precision and recall (Kynkäänniemi et al. 2019, Eq. 1 and 2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainer.evaluate.moments import Float64

NEIGHBOURS = 3
_CHUNK = 1024


def precision_recall(real: ArrayLike, fake: ArrayLike, k: int = NEIGHBOURS) -> tuple[float, float]:
    """(precision, recall), each in [0, 1].

    The manifold of a set is the union of balls around its points, each with the distance to the point's k-th
    neighbour in the set (itself not counted) as radius. Precision is the share of fakes in the manifold of the real
    features, recall the share of reals in that of the fakes. Memory is a chunk of rows of the distance matrix.

    real: [N, F], fake: [M, F]. Raises ValueError when a set has no k neighbours.
    """
    a, b = np.asarray(real, dtype=np.float64), np.asarray(fake, dtype=np.float64)
    if min(len(a), len(b)) <= k:
        raise ValueError(f"k = {k} neighbours need more than {k} features in each set, got {len(a)} and {len(b)}")
    return _covered(b, a, k), _covered(a, b, k)


def _covered(points: Float64, manifold: Float64, k: int) -> float:
    """Share of `points` that lie in the manifold of `manifold`."""
    radii = np.concatenate([_kth_neighbour(chunk, manifold, k) for chunk in _chunks(manifold)])
    inside = [(_squared_distances(chunk, manifold) <= radii).any(axis=1) for chunk in _chunks(points)]
    return float(np.concatenate(inside).mean())


def _kth_neighbour(points: Float64, among: Float64, k: int) -> Float64:
    """Squared distance of each point to its k-th neighbour; column 0 of the sorted distances is the point itself."""
    distances: Float64 = np.partition(_squared_distances(points, among), k, axis=1)[:, k]
    return distances


def _squared_distances(x: Float64, y: Float64) -> Float64:
    """|x − y|² for all pairs, from one matrix product: [M, F], [N, F] → [M, N]."""
    squared = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2.0 * (x @ y.T)
    nonnegative: Float64 = np.maximum(squared, 0.0)
    return nonnegative


def _chunks(x: Float64) -> list[NDArray[np.float64]]:
    return [x[start : start + _CHUNK] for start in range(0, len(x), _CHUNK)]
