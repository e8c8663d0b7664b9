"""How well an encoder's codes bring images back.

Shape legend: n images, C channels, H height, W width, Z latent dimensions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from trainer.data.stream import Dataset
from trainer.engine.distributed import Distributed
from trainer.engine.pixels import from_bytes
from trainer.engine.sampling import evaluating
from trainer.evaluate.accumulate import CHUNK
from trainer.evaluate.references import real_indices
from trainer.families.arch import Arch

PROTOCOL = "mean squared difference of a training image and G(E(x)), pixels in [0, 1], over the real_samples images"


def reconstruction_error(
    generator: nn.Module, encoder: nn.Module, arch: Arch, dataset: Dataset, distributed: Distributed, *, count: int
) -> float:
    """Mean of (x − G(E(x)))², pixels in [0, 1], over a fixed random subset of at most `count` training images.

    The same on every rank and, bit for bit, for every world size: a chunk of images is one batch of one rank, and the
    sum of the chunks' sums is exact. All ranks must call it. NaN for nets that have diverged.
    """
    indices = real_indices(dataset.manifest.samples, count)
    rounds = -(-len(indices) // (CHUNK * distributed.world))
    sums = torch.zeros(1, rounds, dtype=torch.float64)
    with evaluating(generator, encoder):
        for number in range(rounds):
            first = (number * distributed.world + distributed.rank) * CHUNK
            if first >= len(indices):
                break
            images, labels = dataset.images(indices[first : first + CHUNK])
            sums[0, number] = _errors(generator, encoder, arch, images, labels, distributed.device).sum()
    gathered = distributed.gather(sums.to(distributed.device)).flatten()
    return math.fsum(gathered.tolist()) / len(indices)


def _errors(
    generator: nn.Module, encoder: nn.Module, arch: Arch, images_nCHW: Tensor, labels_n: Tensor, device: torch.device
) -> Tensor:
    """Each image's mean squared difference, pixels in [0, 1], float64 [n]."""
    low, high = arch.pixel_range
    x = from_bytes(images_nCHW.to(device), arch.pixel_range)
    again = generator(encoder(x), labels_n.to(device) if arch.conditional else None)
    difference: Tensor = (x.double() - again.double()) / (high - low)
    return difference.square().flatten(1).mean(dim=1)
