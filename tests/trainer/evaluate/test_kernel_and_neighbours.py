"""Kernel distance, precision and recall against naive loops over the definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from trainer.evaluate import kernel_distance, precision_recall
from trainer.evaluate.kernel import squared_mmd


def naive_mmd(x, y):
    def k(a, b):
        return (sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    m, n = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    yy = sum(k(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    xy = sum(k(x[i], y[j]) for i in range(m) for j in range(n)) / (m * n)
    return xx + yy - 2 * xy


def naive_precision(real, fake, k):
    def distance(a, b):
        return np.sqrt(((a - b) ** 2).sum())

    radii = [sorted(distance(real[i], real[j]) for j in range(len(real)) if j != i)[k - 1] for i in range(len(real))]
    hits = [any(distance(f, real[i]) <= radii[i] for i in range(len(real))) for f in fake]
    return sum(hits) / len(fake)


@given(st.integers(2, 9), st.integers(2, 9), st.integers(1, 5), st.integers(0, 100))
@examples(30)
def test_squared_mmd_is_the_naive_unbiased_estimate(m, n, features, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(m, features)), rng.normal(size=(n, features)) + 1
    assert squared_mmd(x, y) == pytest.approx(naive_mmd(x, y), rel=1e-9, abs=1e-9)


def test_mmd_is_unbiased_for_equal_distributions():
    """Its mean over many draws is 0 within its own standard error; a biased estimate is not."""
    rng = np.random.default_rng(0)
    draws = [squared_mmd(rng.normal(size=(20, 4)), rng.normal(size=(20, 4))) for _ in range(400)]
    assert abs(np.mean(draws)) < 4 * np.std(draws) / 20


def test_kernel_distance_is_the_mean_over_seeded_subsets():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(60, 6)), rng.normal(size=(50, 6)) + 0.5
    first = kernel_distance(x, y, subsets=20, subset_size=30)
    assert first == kernel_distance(x, y, subsets=20, subset_size=30)
    assert first != kernel_distance(x, y, subsets=20, subset_size=30, seed=1)
    assert first == pytest.approx(naive_mmd(x, y), rel=0.35)


def test_one_subset_that_is_everything_needs_no_draw():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(12, 3)), rng.normal(size=(12, 3))
    assert kernel_distance(x, y) == pytest.approx(naive_mmd(x, y), rel=1e-9)


def test_kernel_distance_refuses_features_of_different_width():
    with pytest.raises(ValueError, match="one F"):
        kernel_distance(np.zeros((5, 3)), np.zeros((5, 4)))


@given(st.integers(5, 14), st.integers(5, 14), st.integers(1, 3), st.integers(0, 100))
@examples(30)
def test_precision_and_recall_are_the_naive_definitions(n, m, k, seed):
    rng = np.random.default_rng(seed)
    real, fake = rng.normal(size=(n, 3)), rng.normal(size=(m, 3)) * 1.5 + 0.5
    assert precision_recall(real, fake, k) == (naive_precision(real, fake, k), naive_precision(fake, real, k))


def test_chunks_do_not_change_precision_and_recall(monkeypatch):
    rng = np.random.default_rng(5)
    real, fake = rng.normal(size=(50, 3)), rng.normal(size=(40, 3)) + 0.5
    whole = precision_recall(real, fake)
    monkeypatch.setattr("trainer.evaluate.neighbours._CHUNK", 7)
    assert precision_recall(real, fake) == whole


def test_a_collapsed_generator_is_precise_but_does_not_cover():
    rng = np.random.default_rng(6)
    real = rng.normal(size=(200, 2))
    collapsed = real[0] + rng.normal(size=(200, 2)) * 1e-3
    precision, recall = precision_recall(real, collapsed)
    assert precision > 0.95
    assert recall < 0.05


def test_too_few_features_for_k_neighbours_are_refused():
    with pytest.raises(ValueError, match="k = 3"):
        precision_recall(np.zeros((3, 2)), np.zeros((10, 2)))
