"""Fréchet distance and the moments it stands on, against SciPy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.evaluate import Moments, frechet_distance


def scipy_distance(a, b):
    """FID as it is usually written, with SciPy's matrix square root of the product."""
    mu1, mu2, c1, c2 = a.mean(0), b.mean(0), np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(c1 @ c2)
    return float(np.sum((mu1 - mu2) ** 2) + np.trace(c1 + c2 - 2 * np.real(root)))


def ours(a, b):
    one, two = Moments.of(a), Moments.of(b)
    return frechet_distance(one.mean, one.covariance, two.mean, two.covariance)


@pytest.mark.parametrize("features", [1, 2, 16, 64])
def test_agrees_with_scipy_to_one_in_a_million(features):
    rng = np.random.default_rng(features)
    mix = rng.normal(size=(features, features))
    a, b = rng.normal(size=(500, features)) @ mix, rng.normal(size=(400, features)) * 1.5 + 0.3
    if features == 1:
        expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    else:
        expected = scipy_distance(a, b)
    assert ours(a, b) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("n", "m"), [(20, 25), (20, 400), (400, 20), (2, 2)])
def test_singular_covariances_agree_with_the_exact_low_rank_form(n, m):
    """tr (C₁C₂)^½ is the nuclear norm of X₁X₂ᵀ for centred data Xᵢ: exact, without any square root of a matrix."""
    rng = np.random.default_rng(n + m)
    a, b = rng.normal(size=(n, 64)) * 2, rng.normal(size=(m, 64)) + 1
    xa, xb = (a - a.mean(0)) / np.sqrt(n - 1), (b - b.mean(0)) / np.sqrt(m - 1)
    overlap = scipy.linalg.svdvals(xa @ xb.T).sum()
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.sum(xa**2) + np.sum(xb**2) - 2 * overlap
    assert ours(a, b) == pytest.approx(expected, rel=1e-6)


def test_singular_covariances_agree_with_scipy():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(40, 64)) * 2, rng.normal(size=(50, 64)) + 1
    assert ours(a, b) == pytest.approx(scipy_distance(a, b), rel=1e-6)


@given(st.integers(0, 10_000), st.integers(1, 12))
@settings(deadline=None)
def test_commuting_covariances_have_the_closed_form(seed, features):
    """Shared eigenvectors: |μ₁ − μ₂|² + Σ (√λ₁ − √λ₂)²."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(features, features)))
    one, two = rng.uniform(0, 5, features), rng.uniform(0, 5, features)
    mu1, mu2 = rng.normal(size=features), rng.normal(size=features)
    expected = np.sum((mu1 - mu2) ** 2) + np.sum((np.sqrt(one) - np.sqrt(two)) ** 2)
    found = frechet_distance(mu1, q * one @ q.T, mu2, q * two @ q.T)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-7)


def test_a_distribution_is_at_distance_zero_of_itself():
    x = np.random.default_rng(0).normal(size=(300, 32))
    assert ours(x, x) == pytest.approx(0.0, abs=1e-10)


def test_it_is_symmetric():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(50, 8)), rng.normal(size=(60, 8)) * 3
    assert ours(a, b) == pytest.approx(ours(b, a), rel=1e-12)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="don't fit together"):
        frechet_distance(np.zeros(3), np.eye(3), np.zeros(4), np.eye(4))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", range(4))
def test_what_is_not_finite_has_no_distance_and_is_not_the_best_score(value, place):
    given = [np.zeros(3), np.eye(3), np.zeros(3), np.eye(3)]
    given[place] = given[place].copy()
    given[place][..., -1] = value
    with pytest.raises(ValueError, match="NaN or infinity"):
        frechet_distance(*given)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(0, 1000), st.sampled_from([0.0, 1e6]))
@settings(deadline=None)
def test_moments_of_pieces_are_the_moments_of_the_whole(sizes, seed, offset):
    """Also far from zero, where E[xxᵀ] − μμᵀ would lose its digits."""
    rng = np.random.default_rng(seed)
    pieces = [rng.normal(size=(size, 5)) * [1, 2, 3, 4, 5] + offset for size in sizes]
    whole = np.concatenate(pieces)
    merged = Moments.empty(5)
    for piece in pieces:
        merged = merged.merge(Moments.of(piece))
    assert merged.count == len(whole)
    if len(whole) > 1:
        np.testing.assert_allclose(merged.mean, whole.mean(0), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(merged.covariance, np.cov(whole, rowvar=False), rtol=1e-6, atol=1e-8)


def test_moments_refuse_what_is_not_finite():
    with pytest.raises(ValueError, match="NaN or infinity"):
        Moments.of([[1.0, float("nan")]])


def test_one_vector_has_no_covariance():
    with pytest.raises(ValueError, match="at least 2"):
        _ = Moments.of([[1.0, 2.0]]).covariance
