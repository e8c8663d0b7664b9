"""Image i of a seed is drawn from (seed, i) alone, however many are drawn with it, by the distribution that it should have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples
from scipy import stats

from trainer import draws

NORMAL = {"distribution": "normal", "dim": 6}
UNIFORM = {"distribution": "uniform", "dim": 6, "low": -2.0, "high": 1.0}
CODES = [{"kind": "categorical", "size": 3}, {"kind": "continuous", "size": 1}]


@examples(60)
@given(
    seed=st.integers(-(2**70), 2**70),
    first=st.sampled_from([0, 1, 5, 1000, 2**40, 2**80]),
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    dim=st.integers(1, 9),
    limit=st.sampled_from([None, 0.01, 0.5, 2.0]),
)
def test_the_same_bits_whatever_the_batches(seed, first, cuts, dim, limit):
    prior, n = {**NORMAL, "dim": dim}, sum(cuts)

    def drawn(at, count):
        z = draws.latents(prior, CODES, seed=seed, first=first + at, n=count, limit=limit)
        return z, draws.labels(10, seed=seed, first=first + at, n=count)

    starts = np.cumsum([0, *cuts[:-1]]).tolist()
    pieces = [drawn(at, count) for at, count in zip(starts, cuts, strict=True)]
    z, y = drawn(0, n)
    assert z.dtype == np.float32
    np.testing.assert_array_equal(np.concatenate([piece for piece, _ in pieces]), z)
    np.testing.assert_array_equal(np.concatenate([piece for _, piece in pieces]), y)


def test_every_part_has_its_distribution():
    n = 4000
    z = draws.latents(NORMAL, CODES, seed=1, first=0, n=n)
    assert stats.kstest(z[:, :6].ravel(), "norm").pvalue > 1e-3
    assert stats.chisquare(z[:, 6:9].sum(axis=0)).pvalue > 1e-3
    assert set(z[:, 6:9].sum(axis=1)) == {1.0}
    assert stats.kstest(z[:, 9], stats.uniform(-1, 2).cdf).pvalue > 1e-3
    flat = draws.latents(UNIFORM, [], seed=1, first=0, n=n)
    assert stats.kstest(flat.ravel(), stats.uniform(-2, 3).cdf).pvalue > 1e-3
    y = draws.labels(7, seed=1, first=0, n=n)
    assert stats.chisquare(np.bincount(y, minlength=7)).pvalue > 1e-3


@pytest.mark.parametrize("limit", [0.01, 0.3, 1.0, 3.0])
def test_truncation_draws_what_lies_outside_again_and_leaves_the_rest(limit):
    free = draws.latents(NORMAL, CODES, seed=4, first=0, n=3000)
    cut = draws.latents(NORMAL, CODES, seed=4, first=0, n=3000, limit=limit)
    inside = np.abs(free) <= np.float32(limit)
    inside[:, 6:] = True  # codes are never truncated
    np.testing.assert_array_equal(cut[inside], free[inside])
    assert np.abs(cut[:, :6]).max() <= np.float32(limit)
    assert stats.kstest(cut[:, :6].ravel(), stats.truncnorm(-limit, limit).cdf).pvalue > 1e-3


def test_images_seeds_and_purposes_are_independent_of_each_other():
    columns = [
        draws.uniform(0, "sample", 0, 5000, 1), draws.uniform(0, "sample", 1, 5000, 1),
        draws.uniform(1, "sample", 0, 5000, 1), draws.uniform(0, "sample-label", 0, 5000, 1),
        draws.uniform(0, "sample", 0, 5000, 2)[:, 1:], draws.uniform(10**30, "sample", 0, 5000, 1),
    ]  # fmt: skip
    correlation = np.corrcoef(np.concatenate(columns, axis=1).T)
    assert np.abs(correlation - np.eye(len(columns))).max() < 5.0 / np.sqrt(5000)


def test_scheme_2_stays_as_it_is():
    """Published packages stand on these numbers: who changes them makes a new scheme, and keeps this one."""
    z = draws.latents(NORMAL, CODES, seed=7, first=1000, n=2, limit=1.0)
    np.testing.assert_allclose(z, PINNED_Z, atol=2e-6)
    np.testing.assert_array_equal(draws.labels(1000, seed=7, first=1000, n=6), PINNED_LABELS)
    flat = draws.latents(UNIFORM, [], seed=7, first=0, n=1)
    np.testing.assert_allclose(flat, PINNED_UNIFORM, atol=2e-6)


def test_no_word_gives_an_infinite_latent(monkeypatch):
    class Extreme:
        def __init__(self, **_):
            pass

        def random_raw(self, n):
            return np.array([0, 2**64 - 1] * (n // 2), np.uint64)

    monkeypatch.setattr(draws.np.random, "Philox", Extreme)
    z = draws.latents(NORMAL, CODES, seed=0, first=0, n=1)
    assert np.isfinite(z).all()
    assert 7.5 < np.abs(z[:, :6]).max() < 9.0
    assert draws.labels(10, seed=0, first=0, n=2).max() <= 9


PINNED_Z = [
    [0.152999, 0.755167, -0.427968, 0.488989, -0.095748, -0.061147, 0.0, 1.0, 0.0, 0.705508],
    [-0.430016, 0.497097, 0.731889, -0.621241, 0.123527, 0.248645, 0.0, 0.0, 1.0, -0.826638],
]
PINNED_LABELS = [260, 401, 948, 796, 723, 460]
PINNED_UNIFORM = [[-1.665843, -1.296377, -1.986205, -1.07491, 0.395986, -0.307805]]
