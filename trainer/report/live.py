"""Nets in memory with a package's abilities: for a training that runs, and for a checkpoint.

Shape legend: n images, Z latent dimensions, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from trainer.engine.pixels import from_bytes
from trainer.engine.sampling import draw, images_of, sample
from trainer.engine.standing import standing
from trainer.families.arch import Arch
from trainer.families.base import AnyFamily
from trainer.report.subject import Images, Latents
from trainer.spec import JobSpec

CHUNK = 256


class NetModel:
    """G, and E where there is one. They run on the device where they are, in evaluation mode, and are left as they were."""

    def __init__(
        self,
        family: AnyFamily,
        arch: Arch,
        generator: nn.Module,
        encoder: nn.Module | None = None,
        spec: JobSpec | None = None,
    ) -> None:
        """spec: how standing statistics are taken; None: G samples with the statistics that it has."""
        self._family, self._arch, self._spec = family, arch, spec
        self._generator, self._encoder = generator, encoder
        self._sampled: dict[float | None, nn.Module] = {}

    def sample(
        self,
        n: int | None = None,
        seed: int = 0,
        labels: Sequence[int] | None = None,
        truncation: float | None = None,
        start: int = 0,
    ) -> Images:
        """See `Model.sample`."""
        count = n if n is not None else len(labels) if labels is not None else 1
        return sample(
            self._family,
            self._arch,
            self._at(truncation),
            n=count,
            seed=seed,
            labels=labels,
            truncation=truncation,
            start=start,
        )

    def latents(self, n: int = 1, seed: int = 0, truncation: float | None = None, start: int = 0) -> Latents:
        """See `Model.latents`."""
        z, _ = draw(self._family, self._arch, n=n, seed=seed, truncation=truncation, start=start)
        return np.asarray(z.numpy(), np.float32)

    def decode(self, z: Latents, labels: Sequence[int] | None = None) -> Images:
        """See `Model.decode`."""
        y = None if labels is None else torch.tensor(list(labels), dtype=torch.int64)
        return images_of(self._at(None), self._arch, torch.from_numpy(np.ascontiguousarray(z)), y)

    def _at(self, truncation: float | None) -> nn.Module:
        """G with the statistics for this truncation, which are taken once."""
        if self._spec is None:
            return self._generator
        if truncation not in self._sampled:
            self._sampled[truncation] = standing(self._family, self._spec, self._generator, truncation)
        return self._sampled[truncation]

    @torch.inference_mode()
    def encode(self, images: Images) -> Latents:
        """See `Model.encode`."""
        if self._encoder is None:
            raise ValueError(f"family {self._arch.family} has no encoder")
        net, device = self._encoder, next(self._encoder.parameters()).device
        training = {module for module in net.modules() if module.training}
        net.eval()
        try:
            parts = []
            for first in range(0, len(images), CHUNK):
                x = torch.from_numpy(images[first : first + CHUNK]).permute(0, 3, 1, 2).to(device)
                parts.append(net(from_bytes(x, self._arch.pixel_range)).float().cpu())
        finally:
            for module in training:
                module.training = True
        return np.asarray(torch.cat(parts).numpy(), np.float32)
