"""Parzen windows against a naive loop and a density that is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from trainer.evaluate.parzen import SIGMAS, VALIDATION, centroids, flat_pixels, log_likelihoods, parzen


def test_the_log_likelihood_is_that_of_the_mean_of_gaussians_around_the_samples() -> None:
    rng = np.random.default_rng(0)
    x, samples = rng.random((7, 3)), rng.random((5, 3))
    found = log_likelihoods(x, samples, [0.2, 0.7])
    for row, sigma in enumerate((0.2, 0.7)):
        density = [np.mean([multivariate_normal(s, sigma**2 * np.eye(3)).pdf(point) for s in samples]) for point in x]
        np.testing.assert_allclose(found[row], np.log(density), rtol=1e-10)


def test_many_images_are_scored_as_each_alone() -> None:
    rng = np.random.default_rng(1)
    x, samples = rng.random((1203, 4)), rng.random((9, 4))
    alone = [log_likelihoods(x[i : i + 1], samples, [0.3])[0, 0] for i in (0, 499, 500, 1202)]
    np.testing.assert_allclose(log_likelihoods(x, samples, [0.3])[0, [0, 499, 500, 1202]], alone, rtol=1e-12)


def test_images_far_from_every_sample_have_a_finite_log_likelihood() -> None:
    x, samples = np.ones((2, 784)), np.zeros((3, 784))
    (found,) = log_likelihoods(x, samples, [0.1])
    np.testing.assert_allclose(found, 784 * norm(scale=0.1).logpdf(1.0), rtol=1e-12)


def test_sigma_is_chosen_by_validation_images_and_the_mean_is_over_test_images() -> None:
    rng = np.random.default_rng(2)
    samples, validation, test = (rng.normal(size=(count, 2)) for count in (400, 50, 60))
    found = parzen(samples, validation, test)
    by_hand = [log_likelihoods(validation, samples, [sigma])[0].mean() for sigma in SIGMAS]
    assert found.sigma == SIGMAS[int(np.argmax(by_hand))]
    values = log_likelihoods(test, samples, [found.sigma])[0]
    assert found.mean == pytest.approx(values.mean())
    assert found.standard_error == pytest.approx(values.std(ddof=1) / np.sqrt(60))
    truth = multivariate_normal(np.zeros(2), np.eye(2)).logpdf(test).mean()
    assert found.mean == pytest.approx(truth, abs=0.25)


def test_the_papers_grid_is_ten_widths_from_a_tenth_to_one_and_a_thousand_images() -> None:
    assert len(SIGMAS) == 10
    assert (SIGMAS[0], SIGMAS[-1], VALIDATION) == (pytest.approx(0.1), pytest.approx(1.0), 1000)


def test_pixels_are_rows_in_zero_to_one() -> None:
    images = np.array([[[[0], [255]], [[51], [102]]]], np.uint8)
    np.testing.assert_allclose(flat_pixels(images), [[0.0, 1.0, 0.2, 0.4]])
    with pytest.raises(ValueError, match="uint8"):
        flat_pixels(images.astype(np.float32))


def test_centroids_are_the_clusters_means() -> None:
    rng = np.random.default_rng(3)
    points = np.concatenate([rng.normal(centre, 0.01, size=(50, 2)) for centre in (0.0, 1.0, 2.0)])
    found = centroids(points, 120, seed=0, rounds=20)
    assert found.shape == (120, 2)
    nearest = np.abs(found[:, None] - points[None]).sum(-1).min(axis=1)
    assert nearest.max() < 0.05


@pytest.mark.parametrize("sigmas", [[], [0.0], [-1.0]])
def test_impossible_widths_are_refused(sigmas: list[float]) -> None:
    with pytest.raises(ValueError, match="sigmas"):
        log_likelihoods(np.zeros((1, 2)), np.zeros((1, 2)), sigmas)
