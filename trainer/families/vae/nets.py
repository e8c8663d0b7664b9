"""The variational autoencoder (Kingma & Welling 2014) with Gaussian posterior and Bernoulli decoder (appendix C).

Shape legend: B batch, C channels, R resolution, Z latent dimensions.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from trainer.families.ae.nets import Decoder
from trainer.families.base import Family
from trainer.families.vae.arch import VaeArch
from trainer.objective.phases import Batch, Loss, Nets, Phase
from trainer.objective.reconstruction import cross_entropy, gaussian_divergence, reparametrised
from trainer.spec import JobSpec


class Encoder(nn.Module):
    """images_BCRR → mean_BZ of q(z | x); with `moments=True` (mean_BZ, log variance_BZ)."""

    def __init__(self, arch: VaeArch) -> None:
        super().__init__()
        pixels = arch.channels * arch.resolution**2
        self.body = nn.Sequential(nn.Flatten(), *tanh_layers(pixels, arch.e_hidden, arch.layers))
        self.mean = nn.Linear(arch.e_hidden, arch.latent.dim)
        self.log_variance = nn.Linear(arch.e_hidden, arch.latent.dim)

    def forward(self, x_BCRR: Tensor, *, moments: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        h_BF = self.body(x_BCRR)
        mean_BZ: Tensor = self.mean(h_BF)
        return (mean_BZ, self.log_variance(h_BF)) if moments else mean_BZ


class Vae(Family[VaeArch]):
    """Two players, G and E, that step together."""

    def build(self, arch: VaeArch) -> dict[str, nn.Module]:
        """Weights start as torch draws them, U(±1/√inputs): from the paper's small ones Adam first drops the codes."""
        hidden = nn.Sequential(*tanh_layers(arch.latent.width, arch.g_hidden, arch.layers))
        return {"G": Decoder(arch, hidden, arch.g_hidden), "E": Encoder(arch)}

    def phases(self, spec: JobSpec) -> tuple[Phase, ...]:
        """One phase: both nets on −ELBO of new real images, one sample of z for each (Eq. 7 with L = 1)."""
        arch = cast("VaeArch", spec.arch)

        def loss(nets: Nets, batch: Batch) -> Loss:
            x = (torch.rand_like(batch.real) < batch.real).to(batch.real.dtype) if arch.binarise else batch.real
            mean, log_variance = (moment.to(x.dtype) for moment in nets["E"](x, moments=True))
            logits = nets["G"](reparametrised(mean, log_variance), logits=True).to(x.dtype)
            reconstruction, divergence = cross_entropy(logits, x), gaussian_divergence(mean, log_variance)
            total = reconstruction + divergence
            parts = {"G/reconstruction": reconstruction, "E/kl": divergence, "elbo": -total}
            return Loss(total, {name: part.detach() for name, part in parts.items()})

        return (Phase("autoencode", ("G", "E"), loss, fresh_data=True),)


def tanh_layers(inputs: int, units: int, count: int) -> list[nn.Module]:
    """`count` tanh layers, [B, inputs] → [B, units]."""
    found: list[nn.Module] = []
    for size in [inputs, *[units] * (count - 1)]:
        found += [nn.Linear(size, units), nn.Tanh()]
    return found


FAMILY = Vae()
