"""Jensen–Shannon divergence and Wasserstein-1 distance as quantities, computed exactly where that is possible.

Jensen–Shannon is in nats: JSD(p, q) = ½ KL(p ‖ m) + ½ KL(q ‖ m) with m = ½ (p + q), from 0 to log 2, which two
distributions reach that share no support (Goodfellow et al. 2014, section 4.1). Wasserstein-1 is in the units of the
points: W₁(p, q) = inf over couplings of E‖x − y‖₂ = sup over 1-Lipschitz f of E_p f − E_q f (Arjovsky et al. 2017,
Eq. 1 and 2). Neural estimates of both are in `neural`.

Shape legend: N, M points of two samples, D dimensions (1 or 2), K outcomes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import inf, log

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import quad
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import csr_array, eye_array, kron, vstack
from scipy.spatial.distance import cdist
from scipy.special import rel_entr
from scipy.stats import wasserstein_distance

from trainer.evaluate.moments import Float64

LOG2 = log(2.0)
"""The largest Jensen–Shannon divergence, in nats."""


def jensen_shannon(p: ArrayLike, q: ArrayLike) -> float:
    """JSD in nats of two discrete distributions over the same K outcomes; exact.

    p, q: weights [K] or histograms of any one shape, at least 0, with a positive sum; each is divided by its sum.
    Raises ValueError for other weights or shapes that differ.
    """
    a, b = _weights(p), _weights(q)
    if a.shape != b.shape:
        raise ValueError(f"p {a.shape} and q {b.shape} must be over the same outcomes")
    found = float(_contributions(a, b).sum())
    return min(max(found, 0.0), LOG2)  # rounding alone leaves that range


def jensen_shannon_of_samples(x: ArrayLike, y: ArrayLike, edges: Sequence[ArrayLike] | None = None) -> float:
    """JSD in nats of two samples, [N] or [N, D] each, as discrete distributions with weight 1/N (1/M) on each point.

    Without `edges` it is that of the samples themselves: exact, for values that repeat. Samples of continuous
    distributions share no point, so theirs is log 2 however close they are: no estimate of the densities' divergence.
    With `edges`, one increasing sequence per dimension, points are counted in cells first. That is exactly the divergence
    of the histograms, and estimates that of the distributions with two biases: cells hide differences inside them (too
    low, less so for finer cells), and a finite sample is uneven (too high: for p = q and N, M well above the number of
    cells by about (cells − 1)/8 · (1/N + 1/M)).
    Raises ValueError if a point lies outside the edges, or for shapes that don't fit.
    """
    a, b = _points(x, y)
    if edges is None:
        _, outcome = np.unique(np.concatenate([a, b]), axis=0, return_inverse=True)
        outcome = outcome.reshape(-1)
        k = int(outcome.max()) + 1
        return jensen_shannon(np.bincount(outcome[: len(a)], minlength=k), np.bincount(outcome[len(a) :], minlength=k))
    cells = [np.asarray(edge, dtype=np.float64) for edge in edges]
    if len(cells) != a.shape[1]:
        raise ValueError(f"{len(cells)} sequences of edges for points of {a.shape[1]} dimension(s)")
    counts = [np.histogramdd(points, bins=cells)[0] for points in (a, b)]
    for count, points in zip(counts, (a, b), strict=True):
        if (outside := len(points) - int(count.sum())) > 0:
            raise ValueError(f"{outside} of {len(points)} points lie outside the edges; widen them")
    return jensen_shannon(*counts)


def jensen_shannon_of_densities(
    p: Callable[[float], float],
    q: Callable[[float], float],
    bounds: tuple[float, float] = (-inf, inf),
    breaks: Sequence[float] = (),
) -> float:
    """JSD in nats of two densities on the line, by adaptive quadrature to about 1e-9.

    p, q: x → density, each of integral 1 over `bounds`. breaks: points between the bounds where a density jumps or has a
    narrow peak; the integral is taken piecewise. Raises ValueError if a density does not integrate to 1 within 1e-6,
    which also catches a peak that the quadrature missed.
    """

    def integrand(x: float) -> float:
        return float(_contributions(p(x), q(x)))

    knots = [bounds[0], *sorted(breaks), bounds[1]]
    for name, density in (("p", p), ("q", q)):
        if abs((total := _integral(density, knots)) - 1.0) > 1e-6:
            raise ValueError(f"{name} integrates to {total:.8g} and not to 1; check it, or give breaks at its peaks")
    return min(max(_integral(integrand, knots), 0.0), LOG2)


def wasserstein(
    x: ArrayLike, y: ArrayLike, x_weights: ArrayLike | None = None, y_weights: ArrayLike | None = None
) -> float:
    """W₁ between two samples, [N] or [N, D] and [M] or [M, D], as discrete distributions; exact.

    Weights, [N] and [M], are divided by their sum; None weighs all points alike. On the line it is the area between the
    distribution functions, O(N log N). In more dimensions, with Euclidean distances, it is an optimal assignment if both
    samples have as many points of equal weight (O(N³): for some thousand points), else the transport problem as a linear
    programme (for some hundred). Raises ValueError for shapes or weights that don't fit, or values that are not finite.
    """
    a, b = _points(x, y)
    p, q = _mass(x_weights, len(a)), _mass(y_weights, len(b))
    if a.shape[1] == 1:
        return float(wasserstein_distance(a[:, 0], b[:, 0], p, q))
    cost = cdist(a, b)
    if x_weights is None and y_weights is None and len(a) == len(b):
        rows, columns = linear_sum_assignment(cost)
        return float(cost[rows, columns].mean())
    return _transport(cost, p, q)


def _contributions(p: ArrayLike, q: ArrayLike) -> Float64:
    """½ p log(p/m) + ½ q log(q/m) of each outcome or at each point. p + q stands for 2m: half of the smallest number is 0."""
    a, b = np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64)
    found: Float64 = 0.25 * (rel_entr(2.0 * a, a + b) + rel_entr(2.0 * b, a + b))
    return found


def _transport(cost_NM: Float64, p_N: Float64, q_M: Float64) -> float:
    """min Σ π·cost over π ≥ 0 with row sums p and column sums q (Kantorovich), by HiGHS."""
    n, m = cost_NM.shape
    rows = kron(eye_array(n), np.ones((1, m)))
    columns = kron(np.ones((1, n)), eye_array(m))
    constraints = csr_array(vstack([rows, columns])[:-1])  # the last follows from the others
    found = linprog(cost_NM.ravel(), A_eq=constraints, b_eq=np.concatenate([p_N, q_M])[:-1], method="highs")
    if not found.success:
        raise ArithmeticError(f"the transport problem of {n} × {m} points was not solved: {found.message}")
    return float(found.fun)


def _integral(function: Callable[[float], float], knots: Sequence[float]) -> float:
    pieces = (quad(function, low, high, epsabs=1e-10, epsrel=1e-10, limit=200)[0] for low, high in pairwise(knots))
    return float(sum(pieces))


def _points(x: ArrayLike, y: ArrayLike) -> tuple[Float64, Float64]:
    """Both samples as finite [N, D] and [M, D]."""
    a, b = (np.asarray(sample, dtype=np.float64) for sample in (x, y))
    a, b = (sample[:, None] if sample.ndim == 1 else sample for sample in (a, b))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(a.size, b.size) == 0:
        raise ValueError(
            f"samples must be [N] or [N, D] with one D and at least one point, got {a.shape} and {b.shape}"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("samples hold NaN or infinity")
    return a, b


def _mass(weights: ArrayLike | None, points: int) -> Float64:
    mass = np.full(points, 1.0 / points) if weights is None else _weights(weights)
    if mass.shape != (points,):
        raise ValueError(f"{points} points need as many weights, got {mass.shape}")
    return mass


def _weights(values: ArrayLike) -> Float64:
    """Weights of sum 1. Raises ValueError for a negative or infinite one, or if all are 0."""
    weights = np.asarray(values, dtype=np.float64)
    total = weights.sum()
    if not np.isfinite(total) or (weights < 0).any() or total <= 0:
        raise ValueError("weights must be finite, at least 0, and not all 0")
    normal: Float64 = weights / total
    return normal
