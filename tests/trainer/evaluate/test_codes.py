"""Codes and classes: the matching against all permutations, the bound against a channel whose information is known."""

from __future__ import annotations

from itertools import permutations
from math import log

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from trainer.evaluate.codes import UNIFORM_ENTROPY, categorical_bound, code_error, gaussian_bound, matching


def test_the_matching_is_the_best_of_all_permutations() -> None:
    rng = np.random.default_rng(0)
    codes, labels = rng.integers(0, 5, 60), rng.integers(0, 5, 60)
    match = matching(codes, labels, 5, 5)
    best = max(sum(p[c] == y for c, y in zip(codes, labels, strict=True)) for p in permutations(range(5)))
    assert code_error(codes, labels, match).value == pytest.approx(1 - best / 60)


def test_two_codes_cannot_stand_for_one_class() -> None:
    codes, labels = np.array([0, 0, 1, 1, 2]), np.array([0, 0, 0, 0, 1])
    match = matching(codes, labels, 3, 3)
    assert sorted(match.tolist()) == [0, 1, 2]
    assert code_error(codes, labels, match).value == pytest.approx(2 / 5)


def test_a_code_of_more_values_than_classes_leaves_some_without() -> None:
    assert sorted(matching(np.array([0, 1, 2, 2]), np.array([0, 1, 1, 1]), 3, 2).tolist()) == [-1, 0, 1]


def test_the_error_is_that_of_the_given_matching_and_not_of_the_best() -> None:
    codes, labels = np.array([0, 1, 1]), np.array([1, 0, 0])
    assert code_error(codes, labels, np.array([0, 1])).value == 1.0


def test_the_bound_is_the_mutual_information_when_q_is_the_posterior() -> None:
    """A symmetric channel: x is c with probability 0.7, else one of the other two; I(c; x) is known in closed form."""
    channel = np.full((3, 3), 0.15) + 0.55 * np.eye(3)
    information = log(3) + 0.7 * log(0.7) + 2 * 0.15 * log(0.15)
    codes = np.repeat(np.arange(3), 100)
    images = np.concatenate([np.repeat(np.arange(3), (100 * channel[c]).round().astype(int)) for c in range(3)])
    posterior = np.log(channel[:, images].T)
    assert categorical_bound(posterior + 5.0, codes) == pytest.approx(information)


def test_the_bound_is_the_entropy_for_a_q_that_knows_and_zero_for_one_that_guesses() -> None:
    codes = np.arange(10)
    assert categorical_bound(1e6 * np.eye(10), codes) == pytest.approx(log(10))
    assert categorical_bound(np.zeros((10, 10)), codes) == pytest.approx(0.0)
    assert categorical_bound(1e2 * (1 - np.eye(10)), codes) < -90


def test_the_gaussian_bound_is_entropy_plus_mean_log_density() -> None:
    codes, means = np.array([-0.5, 0.2, 1.0]), np.array([-0.4, 0.0, 0.7])
    expected = UNIFORM_ENTROPY + norm(means, 0.3).logpdf(codes).mean()
    assert gaussian_bound(means, 0.3, codes) == pytest.approx(expected)
    assert quad(lambda c: -0.5 * log(0.5), -1, 1)[0] == pytest.approx(UNIFORM_ENTROPY)
