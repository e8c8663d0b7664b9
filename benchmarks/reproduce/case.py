"""What a protocol is given: the finished training, the images, and how much of everything to use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.reproduce.images import Splits
from benchmarks.reproduce.trained import Trained


@dataclass(frozen=True)
class Scale:
    """How many of everything; the defaults are the papers'."""

    samples: int = 10_000
    """Samples of a Parzen window."""
    labelled: int = 50_000
    """Generated labelled samples that a nearest-neighbour classifier is made of."""
    agreement: int = 10_000
    """Samples that a classifier looks at."""
    centroids: int = 10_000
    """Of the k-means baseline."""
    svm: int = 10_000
    """Training images of the linear SVM."""
    weights: int = 500
    """Samples of z for each image of the importance-weighted bound."""
    bounded: int = 2000
    """Test images of the likelihood bounds."""
    gradients: int = 2000
    """Points at which the critic's gradient is taken."""
    truncated: int = 2000
    """Samples at each threshold of a truncation curve."""


QUICK = Scale(200, 300, 200, 50, 200, 5, 100, 64, 100)
"""Checks that it runs, not how good anything is."""


@dataclass(frozen=True)
class Case:
    """One finished training under measurement."""

    trained: Trained
    images: Splits
    scale: Scale = Scale()

    def split(self, name: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Images [N, H, W, C] and labels [N] of a split, at the training's resolution."""
        return self.images.images(name, self.trained.spec.arch)

    def inputs(self, name: str) -> tuple[Tensor, NDArray[np.int64]]:
        """The same as the nets take them: float32 [N, C, H, W]."""
        images, labels = self.split(name)
        return self.trained.inputs(images), labels

    def balanced(self, n: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """n samples of a conditional generator with the classes in turn, and those classes."""
        asked = np.arange(n, dtype=np.int64) % self.trained.spec.arch.classes
        return self.trained.sample(n, labels=asked.tolist()), asked
