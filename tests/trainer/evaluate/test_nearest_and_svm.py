"""Nearest-neighbour and linear classifiers against scikit-learn's, and shares against the binomial."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.neighbors import KNeighborsClassifier

from trainer.evaluate import nearest as module
from trainer.evaluate.nearest import Share, nearest, nearest_error
from trainer.evaluate.separability import linear_svm, pooled


def test_the_error_is_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POINTS", 37)  # several blocks of both
    monkeypatch.setattr(module, "_QUERIES", 23)
    rng = np.random.default_rng(0)
    points, queries = rng.integers(0, 256, (200, 30), dtype=np.uint8), rng.integers(0, 256, (90, 30), dtype=np.uint8)
    labels, truth = rng.integers(0, 4, 200), rng.integers(0, 4, 90)
    reference = KNeighborsClassifier(1, algorithm="brute").fit(points.astype(float), labels)
    found = nearest_error(queries, truth, points, labels)
    assert found.value == pytest.approx(1.0 - reference.score(queries.astype(float), truth))
    assert found.count == 90


def test_the_nearest_is_found_across_blocks_and_the_first_of_equals_wins() -> None:
    points = np.zeros((module._POINTS + 2, 1))
    points[0], points[1], points[-1] = 5.0, 3.0, 3.0
    assert nearest(np.array([[3.0], [6.0]]), points).tolist() == [1, 0]


def test_large_integers_are_compared_exactly() -> None:
    points = np.array([[255.0] * 784, [255.0] * 783 + [254.0]], np.float32)
    assert nearest(points, points).tolist() == [0, 1]


@given(count=st.integers(1, 5000), hits=st.integers(0, 5000))
def test_the_standard_error_of_a_share_is_the_binomials(count: int, hits: int) -> None:
    hits = min(hits, count)
    share = Share.of(np.arange(count) < hits)
    assert share.standard_error == pytest.approx(binom(count, hits / count).std() / count, abs=1e-12)
    assert share.complement.value == pytest.approx(1.0 - share.value)


def test_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="2 queries, 1 labels"):
        nearest_error(np.zeros((2, 1)), np.zeros(1, np.int64), np.zeros((3, 1)), np.zeros(3, np.int64))


def test_maps_are_max_pooled_to_a_grid_and_concatenated() -> None:
    maps = torch.arange(64.0).reshape(1, 1, 8, 8)
    small = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    found = pooled([maps, small])
    by_hand = [maps[0, 0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max() for i in range(4) for j in range(4)]
    assert found.tolist() == [[*map(float, by_hand), 1.0, 2.0, 3.0, 4.0]]


def test_a_linear_svm_separates_what_is_linearly_separable_and_not_noise() -> None:
    rng = np.random.default_rng(0)
    labels, truth = rng.integers(0, 3, 300), rng.integers(0, 3, 300)
    noise, other = rng.normal(size=(300, 6)).astype(np.float32), rng.normal(size=(300, 6)).astype(np.float32)
    marks = 1000.0 * np.eye(3, 6, dtype=np.float32)
    assert linear_svm(noise + marks[labels], labels, other + marks[truth], truth).value == 1.0
    assert linear_svm(noise, labels, other, truth).value < 0.5
