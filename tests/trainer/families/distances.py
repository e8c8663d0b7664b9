"""How far a generator's pixels are from the data's, and whether they show what was asked, for tests that need no features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from trainer.data.stream import open_dataset
from trainer.engine.distributed import Distributed
from trainer.engine.sampling import sample
from trainer.engine.state import TrainState
from trainer.evaluate.frechet import frechet_distance
from trainer.spec import JobSpec


def pixel_distance(state: TrainState, cache: Path, n: int = 500) -> float:
    """Squared Fréchet distance between Gaussians of the pixels in [0, 1] of `n` samples and of the data's first 1500."""
    made = sample(state.family, state.spec.arch, state.generator, n=n, seed=1)
    both = (_real(state.spec, cache), _flat(_shrunk(made.transpose(0, 3, 1, 2))))
    (mu1, cov1), (mu2, cov2) = ((x.mean(axis=0), np.cov(x, rowvar=False)) for x in both)
    return frechet_distance(mu1, cov1, mu2, cov2)


def mean_image_distance(spec: JobSpec, cache: Path) -> float:
    """`pixel_distance` of samples that are all the data's mean image: who is below it draws images that differ, and rightly."""
    return float(_real(spec, cache).var(axis=0, ddof=1).sum())


def untrained_distance(spec: JobSpec, cache: Path) -> float:
    """`pixel_distance` before the first update."""
    return pixel_distance(TrainState.create(spec, Distributed.create(spec, world=1)), cache)


def _real(spec: JobSpec, cache: Path) -> NDArray[np.float64]:
    return _flat(_shrunk(open_dataset(spec, cache_dir=cache).images(range(1500))[0].numpy()))


def _shrunk(images_NCHW: NDArray[np.uint8]) -> NDArray[Any]:
    """Means over squares, to at most 16 px: a covariance of 12,288 pixels would take minutes."""
    n, channels, height, width = images_NCHW.shape
    factor = max(1, height // 16)
    squares = images_NCHW.reshape(n, channels, height // factor, factor, width // factor, factor)
    return images_NCHW if factor == 1 else squares.mean(axis=(3, 5))


def _flat(images_NCHW: NDArray[Any]) -> NDArray[np.float64]:
    flat: NDArray[np.float64] = images_NCHW.reshape(len(images_NCHW), -1) / 255.0
    return flat


def label_agreement(state: TrainState, cache: Path, n: int = 400) -> float:
    """Share of `n` samples in which a linear classifier of the real digits finds the digit asked for; chance is 0.1."""
    images, labels = open_dataset(state.spec, cache_dir=cache).images(range(1797))
    classifier = LogisticRegression(max_iter=100).fit(images.flatten(1).numpy() / 255.0, labels.numpy())
    asked = np.arange(n) % 10
    made = sample(state.family, state.spec.arch, state.generator, n=n, seed=1, labels=asked)
    return float(np.mean(classifier.predict(made.reshape(n, -1) / 255.0) == asked))
