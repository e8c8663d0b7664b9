"""What a training takes before the first step: from its data, and from another training's nets if it begins with these."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from trainer.engine import ema as averaging
from trainer.engine.distributed import Distributed
from trainer.engine.state import TrainState

if TYPE_CHECKING:
    from trainer.data.stream import Dataset

MOST = 50_000
"""Images that the mean is taken over; of larger datasets as many, evenly spaced."""
CHUNK = 512


def prepare(state: TrainState, dataset: Dataset, distributed: Distributed) -> None:
    """Let the family finish its initial weights (`Family.prepare`); what is given takes their place; the moving averages start
    from the result, those that aren't given themselves.

    Only for a state before its first step. All ranks call it, and their nets stay equal.
    """
    nets = {name: player.net for name, player in state.players.items()}
    state.family.prepare(state.spec.arch, nets, lambda: mean_image(dataset, distributed))
    _take(state, "net/")
    for name, average in state.averages.items():
        averaging.update(average, nets[name], 0.0)
    _take(state, "ema/")
    if state.given:
        distributed.assert_same(nets, "after they took another training's weights")
        state.given = {}


@torch.no_grad()
def _take(state: TrainState, prefix: str) -> None:
    tensors = state.tensors() if state.given else {}
    for name, value in state.given.items():
        if name.startswith(prefix):
            tensors[name].copy_(value)


def mean_image(dataset: Dataset, distributed: Distributed) -> Tensor:
    """The mean of the dataset's images, float32 [C, H, W] on the CPU, pixels in [0, 1].

    Every rank sums its share of the bytes as integers, so the mean is the same, bit for bit, on all ranks and for
    every number of them. The shares are contiguous: a rank opens only the shards that hold its own.
    """
    total = dataset.manifest.samples
    count = min(total, MOST)
    begin, end = (rank * count // distributed.world for rank in (distributed.rank, distributed.rank + 1))
    own = np.arange(begin, end, dtype=np.int64) * total // count
    first, _ = dataset.images([0])
    summed = torch.zeros(first.shape[1:], dtype=torch.int64)
    for start in range(0, len(own), CHUNK):
        images, _ = dataset.images(own[start : start + CHUNK])
        summed += images.sum(dim=0, dtype=torch.int64)
    summed = distributed.sum(summed.to(distributed.device)).cpu()
    return (summed.double() / (255 * count)).float()
