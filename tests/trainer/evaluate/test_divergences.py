"""Exact divergences against closed forms, SciPy and POT (Python Optimal Transport)."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import ot
import pytest
import scipy.stats
from hypothesis import example, given, settings
from hypothesis import strategies as st
from properties import examples
from scipy.spatial.distance import jensenshannon

from trainer.evaluate.divergences import (
    LOG2,
    jensen_shannon,
    jensen_shannon_of_densities,
    jensen_shannon_of_samples,
    wasserstein,
)

weights = st.lists(st.floats(0, 10), min_size=4, max_size=4).filter(lambda values: sum(values) > 0.01)
# Half of the smallest subnormal number is 0: SciPy divides by that mean and says inf.
weights_for_scipy = st.lists(st.floats(0, 10, allow_subnormal=False), min_size=4, max_size=4).filter(
    lambda values: sum(values) > 0.01
)
clouds = st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=5).map(np.array)


@given(weights_for_scipy, weights_for_scipy)
@settings(deadline=None)
def test_jsd_agrees_with_scipy(p, q):
    assert jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q) ** 2, abs=1e-7)  # SciPy's is the root, in nats


@given(weights, weights)
@example([0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 1.0, 5e-324])
@settings(deadline=None)
def test_jsd_is_symmetric_and_at_most_log_2(p, q):
    found = jensen_shannon(p, q)
    assert found == pytest.approx(jensen_shannon(q, p), abs=1e-12)
    assert 0.0 <= found <= log(2)
    assert jensen_shannon(p, p) == 0.0


def test_jsd_of_two_coins_is_what_the_entropies_say():
    """JSD = H(m) − ½ H(p) − ½ H(q): for (1, 0) and (½, ½) it is H(¾) − ½ log 2."""
    entropy = -(0.75 * log(0.75) + 0.25 * log(0.25))
    assert jensen_shannon([1, 0], [0.5, 0.5]) == pytest.approx(entropy - 0.5 * log(2))
    assert jensen_shannon([[3, 0], [0, 0]], [[0, 0], [0, 7]]) == pytest.approx(log(2))


@pytest.mark.parametrize("bad", [[1, -1], [0, 0], [1, float("nan")], [1, 1, 1]])
def test_weights_that_are_no_distribution_over_the_same_outcomes_are_refused(bad):
    with pytest.raises(ValueError, match=r"weights|outcomes"):
        jensen_shannon([1, 1], bad)


@pytest.mark.parametrize("theta", [-1.0, 1e-9, 0.5])
def test_parallel_lines_are_log_2_apart_for_jsd_and_theta_for_wasserstein(theta):
    """Example 1 of Arjovsky et al. 2017."""
    z = np.random.default_rng(0).uniform(size=100)
    still, moved = np.stack([np.zeros(100), z], 1), np.stack([np.full(100, theta), z], 1)
    assert jensen_shannon_of_samples(moved, still) == pytest.approx(log(2))
    assert wasserstein(moved, still) == pytest.approx(abs(theta))
    assert jensen_shannon_of_samples(still, still[::-1]) == wasserstein(still, still[::-1]) == 0.0


def test_samples_of_values_that_repeat_are_compared_by_their_counts():
    assert jensen_shannon_of_samples([0, 0, 0, 5], [5, 0]) == pytest.approx(jensen_shannon([3, 1], [1, 1]))


def test_a_histogram_of_samples_approaches_the_divergence_of_the_densities():
    rng = np.random.default_rng(0)
    p, q = scipy.stats.norm(0, 1), scipy.stats.norm(1.5, 1)
    exact = jensen_shannon_of_densities(p.pdf, q.pdf)
    x, y = p.rvs(50_000, random_state=rng), q.rvs(50_000, random_state=rng)
    edges = np.linspace(-8, 10, 91)
    assert jensen_shannon_of_samples(x, y, [edges]) == pytest.approx(exact, rel=0.02)
    assert jensen_shannon_of_samples(x, y, [edges[::30]]) < 0.95 * exact  # three cells hide differences
    assert jensen_shannon_of_samples(x, y) == pytest.approx(log(2))


def test_the_bias_of_a_histogram_of_few_samples_is_about_what_is_documented():
    rng = np.random.default_rng(0)
    n, m, cells = 1000, 500, 50
    found = [
        jensen_shannon_of_samples(rng.uniform(size=n), rng.uniform(size=m), [np.linspace(0, 1, cells + 1)])
        for _ in range(100)
    ]
    assert np.mean(found) == pytest.approx((cells - 1) / 8 * (1 / n + 1 / m), rel=0.1)


def test_points_outside_the_edges_are_an_error_and_not_forgotten():
    with pytest.raises(ValueError, match="1 of 2 points lie outside"):
        jensen_shannon_of_samples([0.5, 3.0], [0.5, 0.6], [[0, 1, 2]])
    with pytest.raises(ValueError, match="1 sequences of edges for points of 2"):
        jensen_shannon_of_samples([[0, 0]], [[1, 1]], [[0, 1]])


@pytest.mark.parametrize("shift", [0.0, 0.25, 1.0, 3.0])
def test_shifted_uniform_densities_have_the_closed_forms(shift):
    """Where they overlap the densities are equal: JSD = log 2 · min(1, shift); W₁ = shift."""

    def p(x):
        return float(0 <= x < 1)

    def q(x):
        return float(shift <= x < 1 + shift)

    breaks = sorted({0.0, 1.0, shift, 1 + shift})
    found = jensen_shannon_of_densities(p, q, (-1, 5), breaks)
    assert found == pytest.approx(log(2) * min(1.0, shift), abs=1e-9)
    grid = (np.arange(100) + 0.5) / 100
    assert wasserstein(grid + shift, grid) == pytest.approx(shift)


def test_jsd_of_gaussians_agrees_with_a_sum_over_a_fine_grid_and_approaches_log_2():
    x = np.linspace(-40, 40, 400_001)
    p, q = scipy.stats.norm(-1, 1), scipy.stats.norm(2, 0.3)
    found = jensen_shannon_of_densities(p.pdf, q.pdf, breaks=[-1, 2])
    assert found == pytest.approx(jensen_shannon(p.pdf(x), q.pdf(x)), abs=1e-8)
    far = scipy.stats.norm(30, 1)
    assert jensen_shannon_of_densities(p.pdf, far.pdf, breaks=[-1, 30]) == pytest.approx(LOG2, abs=1e-9)


def test_a_density_that_is_none_or_whose_peak_was_missed_is_refused():
    narrow = scipy.stats.norm(300, 1e-4)
    with pytest.raises(ValueError, match="q integrates to"):
        jensen_shannon_of_densities(scipy.stats.norm.pdf, narrow.pdf)
    with pytest.raises(ValueError, match="p integrates to 2"):
        jensen_shannon_of_densities(lambda x: 2.0, lambda x: 1.0, (0, 1))


def test_wasserstein_of_point_masses_is_their_distance():
    assert wasserstein([1.0], [-2.5]) == pytest.approx(3.5)
    assert wasserstein([[0.0, 0.0]], [[3.0, 4.0]]) == pytest.approx(5.0)
    assert wasserstein([0.0, 1.0], [0.5], [1, 3]) == pytest.approx(0.5)


def test_wasserstein_of_gaussians_on_the_line_approaches_the_closed_form():
    """Quantiles differ by μ₁ − μ₂ + (σ₁ − σ₂) z: for equal means W₁ = |σ₁ − σ₂| √(2/π)."""
    levels = (np.arange(50_000) + 0.5) / 50_000
    z = scipy.stats.norm.ppf(levels)
    assert wasserstein(3 * z, z) == pytest.approx(2 * sqrt(2 / np.pi), rel=1e-3)
    assert wasserstein(z + 1.75, z) == pytest.approx(1.75)


@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 8))
@examples(30)
def test_wasserstein_on_the_line_agrees_with_pot_and_with_the_linear_programme(seed, n, m):
    rng = np.random.default_rng(seed)
    x, y, p, q = rng.normal(size=n), rng.normal(size=m), rng.uniform(0.1, 1, n), rng.uniform(0.1, 1, m)
    found = wasserstein(x, y, p, q)
    assert found == pytest.approx(ot.wasserstein_1d(x, y, p / p.sum(), q / q.sum(), p=1), abs=1e-9)
    on_an_axis = [np.stack([points, np.full(len(points), 2.0)], 1) for points in (x, y)]
    assert found == pytest.approx(wasserstein(*on_an_axis, p, q), abs=1e-9)


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 12), st.booleans())
@examples(30)
def test_wasserstein_in_the_plane_agrees_with_pot(seed, n, m, weighted):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, 2)), rng.normal(size=(m, 2)) + 1
    p, q = (rng.uniform(0.1, 1, size) if weighted else np.ones(size) for size in (n, m))
    expected = ot.emd2(p / p.sum(), q / q.sum(), ot.dist(x, y, metric="euclidean"))
    found = wasserstein(x, y, p, q) if weighted else wasserstein(x, y)
    assert found == pytest.approx(expected, abs=1e-9)


def test_assignment_and_linear_programme_agree_with_scipys_own():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, 2)), rng.normal(size=(40, 2)) * 2
    expected = scipy.stats.wasserstein_distance_nd(x, y)
    assert wasserstein(x, y) == pytest.approx(expected, rel=1e-9)
    assert wasserstein(x, y, np.ones(40), np.ones(40)) == pytest.approx(expected, rel=1e-9)


@given(clouds, clouds, clouds)
@examples(25)
def test_wasserstein_is_a_metric(x, y, w):
    assert wasserstein(x, x[::-1]) == pytest.approx(0.0, abs=1e-12)
    assert wasserstein(x, y) == pytest.approx(wasserstein(y, x), abs=1e-8)
    assert wasserstein(x, w) <= wasserstein(x, y) + wasserstein(y, w) + 1e-8
    assert wasserstein(x, y) >= np.linalg.norm(x.mean(0) - y.mean(0)) - 1e-8  # Jensen: it is 0 for no two others


def test_samples_that_cannot_be_compared_are_refused():
    for bad in (np.zeros((3, 1)), np.zeros((2, 2, 2)), np.zeros((0, 2))):
        with pytest.raises(ValueError, match="samples must be"):
            wasserstein(np.zeros((2, 2)), bad)
    with pytest.raises(ValueError, match="NaN"):
        wasserstein([0.0], [float("nan")])
    with pytest.raises(ValueError, match="2 points need as many weights"):
        wasserstein([0.0, 1.0], [0.0], [1, 1, 1])
