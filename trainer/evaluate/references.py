"""Features of the training images, computed once per dataset, extractor and count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor

from trainer.data.stream import Dataset
from trainer.engine.distributed import Distributed
from trainer.evaluate.accumulate import Features, gather_features
from trainer.evaluate.features import Extractor
from trainer.evaluate.files import replace_atomically
from trainer.evaluate.moments import Moments


def real_indices(samples: int, count: int) -> NDArray[np.int64]:
    """Which `count` of `samples` images stand for the dataset: a random subset, always the same, in ascending order."""
    if count >= samples:
        return np.arange(samples)
    return np.sort(np.random.default_rng(0).choice(samples, count, replace=False))


def reference_features(
    dataset: Dataset, extractor: Extractor, cache_dir: Path, distributed: Distributed, *, count: int
) -> Features:
    """Features of at most `count` real images, from the cache or computed by all ranks together.

    The cache's file is named by dataset digest, extractor digest and count. All ranks must call it.
    """
    indices = real_indices(dataset.manifest.samples, count)
    name = f"{dataset.manifest.digest[:32]}-{extractor.digest[:32]}-{len(indices)}.safetensors"
    path = cache_dir / "references" / name
    if not distributed.any(not path.exists()):  # all ranks agree, also if a cache is not shared or being written
        return _read(path)

    def chunk(start: int, n: int) -> Tensor:
        images, _ = dataset.images(indices[start : start + n])
        return extractor(images)

    features = gather_features(len(indices), chunk, distributed, keep=True)
    if distributed.is_main:
        _write(path, features)
    return features


def _write(path: Path, features: Features) -> None:
    moments = features.moments
    arrays = {
        "count": np.array([moments.count], np.int64),
        "mean": moments.mean,
        "scatter": moments.scatter,
        "kept": features.kept,
    }
    with replace_atomically(path) as aside:
        save_file(arrays, aside)


def _read(path: Path) -> Features:
    arrays = load_file(path)
    return Features(Moments(int(arrays["count"][0]), arrays["mean"], arrays["scatter"]), arrays["kept"])
