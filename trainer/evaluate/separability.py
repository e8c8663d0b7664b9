"""How linearly separable classes are in features: a linear SVM on a frozen net (Radford et al. 2016, section 5.1).

Shape legend: B batch, C channels, H height, W width, N images, F features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from trainer.evaluate.nearest import Share

GRID = 4
"""Side of the grid that every layer's maps are max-pooled to, as in the paper."""


def pooled(layers_BCHW: Sequence[Tensor], grid: int = GRID) -> Tensor:
    """Max-pool each layer's maps to `grid` × `grid` (smaller maps stay), flatten and concatenate: [B, F] float32."""
    parts = []
    for maps in layers_BCHW:
        if maps.ndim != 4:
            raise ValueError(f"layers must be maps [B, C, H, W], got {list(maps.shape)}")
        sides = (min(grid, maps.shape[2]), min(grid, maps.shape[3]))
        parts.append(F.adaptive_max_pool2d(maps.float(), sides).flatten(1))
    return torch.cat(parts, dim=1)


def linear_svm(
    train: NDArray[np.float32], labels: NDArray[np.int64], test: NDArray[np.float32], truth: NDArray[np.int64],
    *, penalty: float = 1e-3, seed: int = 0,
) -> Share:  # fmt: skip
    """Test accuracy of an L2-regularised linear SVM, one against the rest, on standardised features.

    train: [N, F], test: [M, F]. `penalty` is scikit-learn's C: features outnumber what the labels can pin down, so it
    is small. Standardisation uses the training features alone.
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    machine = make_pipeline(StandardScaler(), LinearSVC(C=penalty, dual="auto", random_state=seed, max_iter=2000))
    machine.fit(train, labels)
    return Share.of(machine.predict(test) == truth)
