"""What a family is to the engine: nets, latents, phases. The engine knows families through this alone.

Shape legend: B batch, C channels, H height, W width, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from trainer.families.arch import Arch, Code
from trainer.nets.condition import one_hot
from trainer.objective.phases import Phase, adversarial
from trainer.spec import JobSpec

A = TypeVar("A", bound=Arch)


class Family(Generic[A]):
    """Nets, latents and phases of one family. A subclass must give `build`; the rest has defaults.

    Nets own no optimiser and no training step. Their calling convention:
    ``G(z_BZ, labels_B | None) -> images_BCHW`` in ``arch.pixel_range``;
    ``D(images_BCHW, labels_B | None) -> logits_B``; ``E(images_BCHW) -> z_BZ``.
    Labels are int64 in [0, classes), None when unconditional. Z is ``arch.latent.width``.
    """

    def build(self, arch: A) -> dict[str, nn.Module]:
        """The players, keyed by `arch.players`, initialised from torch's global generator (the engine seeds it)."""
        raise NotImplementedError

    def prepare(self, arch: A, nets: Mapping[str, nn.Module], mean_image: Callable[[], Tensor]) -> None:
        """Finish the initial weights, in place, with what they need of the data. Once, before the first step.

        nets: the bare players, on the device. mean_image: float32 [C, H, W] on the CPU, pixels in [0, 1], the same on
        every rank; calling it reads the data. Default: nothing.
        """

    def latents(self, arch: A, n: int, generator: torch.Generator) -> Tensor:
        """z_BZ, float32 on the CPU, from the arch's prior: [n, arch.latent.width], noise first, then the codes.

        Samples of this distribution are drawn faster (`trainer/draws.py`), and so in published packages: who overrides this
        can't be published.
        """
        prior = arch.latent
        if prior.distribution == "normal":
            noise = torch.randn(n, prior.dim, generator=generator)
        else:
            noise = torch.empty(n, prior.dim).uniform_(prior.low, prior.high, generator=generator)
        return torch.cat([noise, *(draw_code(code, n, generator) for code in prior.codes)], dim=1)

    def labels(self, arch: A, n: int, generator: torch.Generator) -> Tensor | None:
        """Labels of generated images: uniform over the classes, int64 [n]; None when unconditional."""
        if not arch.conditional:
            return None
        return torch.randint(arch.classes, (n,), generator=generator)

    @property
    def draws_by_the_prior(self) -> bool:
        """Whether latents and labels are those of the arch's prior and classes, and not the subclass's own."""
        return type(self).latents is Family.latents and type(self).labels is Family.labels

    def judge(
        self, nets: Mapping[str, nn.Module], images: Tensor, labels: Tensor | None, z: Tensor | None = None
    ) -> Tensor:
        """D's logits_B of images_BCHW, for whoever watches it. `z`: the latents they were made of; None: real images."""
        logits_B: Tensor = nets["D"](images, labels)
        return logits_B

    def phases(self, spec: JobSpec) -> tuple[Phase, ...]:
        """Who steps, on what, how often, in the order of one step. Default: D then G, adversarially."""
        return adversarial(spec)


def draw_code(code: Code, n: int, generator: torch.Generator) -> Tensor:
    """The columns of one code, [n, code.size]: a one-hot of a uniform value, or U(-1, 1)."""
    if code.kind == "continuous":
        return torch.empty(n, 1).uniform_(-1.0, 1.0, generator=generator)
    return one_hot(torch.randint(code.size, (n,), generator=generator), code.size)


AnyFamily = Family[Any]
