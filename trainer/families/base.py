"""What a family is to the engine: nets, latents, phases. The engine knows families through this alone.

Shape legend: B batch, C channels, H height, W width, Z latent dimensions.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from trainer.families.arch import Arch
from trainer.objective.phases import Phase, adversarial
from trainer.spec import JobSpec

A = TypeVar("A", bound=Arch)


class Family(Generic[A]):
    """Nets, latents and phases of one family. A subclass must give `build`; the rest has defaults.

    Nets own no optimiser and no training step. Their calling convention:
    ``G(z_BZ, labels_B | None) -> images_BCHW`` in ``arch.pixel_range``;
    ``D(images_BCHW, labels_B | None) -> logits_B``. Labels are int64 in [0, classes), None when unconditional.
    """

    def build(self, arch: A) -> dict[str, nn.Module]:
        """The players, keyed by `arch.players`, initialised from torch's global generator (the engine seeds it)."""
        raise NotImplementedError

    def latents(self, arch: A, n: int, generator: torch.Generator) -> Tensor:
        """z_BZ, float32 on the CPU, from the arch's prior: [n, arch.latent.dim]."""
        prior = arch.latent
        if prior.distribution == "normal":
            return torch.randn(n, prior.dim, generator=generator)
        return torch.empty(n, prior.dim).uniform_(prior.low, prior.high, generator=generator)

    def labels(self, arch: A, n: int, generator: torch.Generator) -> Tensor | None:
        """Labels of generated images: uniform over the classes, int64 [n]; None when unconditional."""
        if not arch.conditional:
            return None
        return torch.randint(arch.classes, (n,), generator=generator)

    def phases(self, spec: JobSpec) -> tuple[Phase, ...]:
        """Who steps, on what, how often, in the order of one step. Default: D then G, adversarially."""
        return adversarial(spec)


AnyFamily = Family[Any]
