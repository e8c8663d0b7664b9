"""Features of many images, shared out over the ranks and brought together so that the result does not depend on how.

Chunk j (rows j·CHUNK …) is rank j mod W's. A chunk is one batch of the generator and of the extractor, so each number is
computed the same way in every world size; only the order in which moments are summed differs.

Shape legend: N images, B batch, F features, W ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.engine.distributed import Distributed
from trainer.evaluate.moments import Moments

CHUNK = 256
KEPT = 10_000
"""Most single features kept for kernel distance, precision and recall; moments are of all."""


@dataclass(frozen=True)
class Features:
    """What is left of N images' features: moments of all, and single ones, evenly spaced, in `kept` [at most KEPT, F]."""

    moments: Moments
    kept: NDArray[np.float32]


def gather_features(
    count: int, chunk_features: Callable[[int, int], Tensor], distributed: Distributed, *, keep: bool
) -> Features:
    """Features of rows 0 … count − 1, the same on every rank. All ranks must call it.

    `chunk_features(start, n)` gives features [n, F] of rows start … start + n − 1; it is called for this rank's chunks.
    `keep`: whether single features are wanted; otherwise `kept` is empty.
    """
    stride = -(-count // KEPT)
    moments: Moments | None = None
    kept: list[Tensor] = []
    for start in range(distributed.rank * CHUNK, count, distributed.world * CHUNK):
        features = chunk_features(start, min(CHUNK, count - start))
        batch = Moments.of(features.numpy())
        moments = batch if moments is None else moments.merge(batch)
        if keep:
            kept.append(features[-start % stride :: stride])
    width = _width(moments, distributed)
    together = all_reduce(moments or Moments.empty(width), distributed)
    rows = _collect(kept, count, stride, width, distributed) if keep else np.empty((0, width), np.float32)
    return Features(together, rows)


def all_reduce(moments: Moments, distributed: Distributed) -> Moments:
    """Moments over all ranks: the mean first, then each scatter moved to it, so that no digits cancel."""
    if distributed.world == 1:
        return moments

    def total(array: NDArray[np.float64]) -> NDArray[np.float64]:
        summed = distributed.sum(torch.from_numpy(array).to(distributed.device))
        return np.asarray(summed.cpu().numpy(), dtype=np.float64)

    count = int(total(np.array([float(moments.count)]))[0])
    mean = total(moments.mean * moments.count) / count
    offset = moments.mean - mean
    return Moments(count, mean, total(moments.scatter + np.outer(offset, offset) * moments.count))


def _width(moments: Moments | None, distributed: Distributed) -> int:
    """F; ranks without a chunk learn it from the others."""
    own = torch.tensor([0 if moments is None else len(moments.mean)], device=distributed.device)
    return int(distributed.gather(own).max())


def _collect(kept: list[Tensor], count: int, stride: int, width: int, distributed: Distributed) -> NDArray[np.float32]:
    """The ranks' kept rows in the order of their images. Unused places travel as NaN."""
    rounds = -(-count // (CHUNK * distributed.world))
    places = torch.full((1, rounds, -(-CHUNK // stride), width), torch.nan)
    for number, rows in enumerate(kept):
        places[0, number, : len(rows)] = rows
    gathered = distributed.gather(places.to(distributed.device)).cpu()
    rows = gathered.transpose(0, 1).reshape(-1, width)
    return np.asarray(rows[~rows.isnan().any(dim=1)].numpy())
