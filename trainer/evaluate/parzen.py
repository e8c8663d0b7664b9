"""Parzen-window log-likelihood of images under a Gaussian kernel around samples (Goodfellow et al. 2014, section 5).

A weak measure: it says little about how samples look, and k-means centroids score above true images (Theis et al. 2016,
section 3.2). It is here because the early papers report it, and never without those two baselines beside it.

Shape legend: N images that are scored, M samples, F pixels of one image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from trainer.evaluate.moments import Float64

SIGMAS: tuple[float, ...] = tuple(float(sigma) for sigma in np.logspace(-1.0, 0.0, 10))
"""Widths that the authors' code tries."""
VALIDATION = 1000
"""Validation images that the authors' code chooses the width by."""
_CHUNK = 500


@dataclass(frozen=True)
class Parzen:
    """mean: nats per image. standard_error: of that mean over the test images, for these very samples. sigma: the chosen width."""

    mean: float
    standard_error: float
    sigma: float
    validation: tuple[float, ...]
    """Mean log-likelihood of the validation images for each of the widths that were tried."""


def flat_pixels(images_NHWC: NDArray[np.uint8]) -> Float64:
    """uint8 images as rows of pixels in [0, 1]: [N, H·W·C] float64. Raises ValueError for another dtype."""
    if images_NHWC.dtype != np.uint8:
        raise ValueError(f"images must be uint8, got {images_NHWC.dtype}")
    flat: Float64 = images_NHWC.reshape(len(images_NHWC), -1) / 255.0
    return flat


def log_likelihoods(x: Float64, samples: Float64, sigmas: Sequence[float]) -> Float64:
    """log p(x) in nats under the mean of Gaussians N(sample, σ²I), for every σ: [S, N].

    log p(x) = logsumexp_m(−|x − s_m|² / 2σ²) − log M − F log(σ √2π). Distances are float64 and computed once for all σ.
    x: [N, F], samples: [M, F]. Raises ValueError for other shapes, no samples, or a σ that is not above 0.
    """
    if x.ndim != 2 or samples.ndim != 2 or x.shape[1] != samples.shape[1] or not len(samples) or not len(x):
        raise ValueError(f"images and samples must be [at least 1, F] with one F, got {x.shape} and {samples.shape}")
    if not sigmas or min(sigmas) <= 0:
        raise ValueError(f"sigmas must be above 0, got {list(sigmas)}")
    count, features = samples.shape
    out = np.empty((len(sigmas), len(x)))
    for rows, distances in _squared_distances(x, samples):
        for row, sigma in enumerate(sigmas):
            normaliser = np.log(count) + features * np.log(sigma * np.sqrt(2.0 * np.pi))
            out[row, rows] = logsumexp(distances / (-2.0 * sigma**2), axis=1) - normaliser
    return out


def parzen(samples: Float64, validation: Float64, test: Float64, sigmas: Sequence[float] = SIGMAS) -> Parzen:
    """The papers' protocol: σ by the mean log-likelihood of `validation`, then mean ± standard error over `test`.

    All are rows of pixels in [0, 1]; the authors take 10,000 samples, the first 1000 validation and all test images.
    Raises ValueError as `log_likelihoods`, and for fewer than two test images.
    """
    if len(test) < 2:
        raise ValueError(f"a standard error needs at least 2 test images, got {len(test)}")
    by_sigma = log_likelihoods(validation, samples, sigmas).mean(axis=1)
    sigma = float(sigmas[int(by_sigma.argmax())])
    found = log_likelihoods(test, samples, [sigma])[0]
    error = float(found.std(ddof=1) / np.sqrt(len(found)))
    return Parzen(float(found.mean()), error, sigma, tuple(by_sigma.tolist()))


def centroids(images: Float64, count: int, *, seed: int, rounds: int = 5) -> Float64:
    """k-means centroids [count, F] of images [N, F]: the baseline that beats true images (Theis et al. 2016, Table 1).

    Lloyd's algorithm from `count` random images, `rounds` rounds in float32: a measure that can be fooled needs no more.
    """
    from sklearn.cluster import KMeans

    if len(images) < count:
        raise ValueError(f"{count} centroids need at least as many images, got {len(images)}")
    means = KMeans(count, init="random", n_init=1, max_iter=rounds, tol=0.0, random_state=seed)
    found: Float64 = means.fit(images.astype(np.float32)).cluster_centers_.astype(np.float64)
    return found


def _squared_distances(x: Float64, samples: Float64) -> Iterator[tuple[slice, Float64]]:
    """|x − s|² [rows, M], some rows of x at a time, from one matrix product each."""
    norms = (samples**2).sum(axis=1)
    for start in range(0, len(x), _CHUNK):
        chunk = x[start : start + _CHUNK]
        distances = (chunk**2).sum(axis=1)[:, None] + norms - 2.0 * (chunk @ samples.T)
        yield slice(start, start + len(chunk)), np.maximum(distances, 0.0)
