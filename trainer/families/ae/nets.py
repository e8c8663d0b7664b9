"""The autoencoder baseline of BiGAN's table (Donahue et al. 2017, section 4.1), and the decoder that the VAE shares.

Encoder and decoder are BiGAN's E and G: two hidden layers, the second with batch norm that has no parameters; leaky
ReLU in E, ReLU in G.

An autoencoder has no prior: nothing makes the distribution of its codes a known one, so to sample it means to decode
points that it was never trained on. For that to be defined at all, E ends in a batch norm without parameters that
gives each dimension of the codes the prior's mean and variance. G could undo this in its first layer, so nothing that
an autoencoder can represent is lost. The dimensions stay dependent, which the prior isn't.

Shape legend: B batch, C channels, R resolution, Z latent dimensions, F features.
"""

from __future__ import annotations

from math import sqrt
from typing import cast

from torch import Tensor, nn

from trainer.families.ae.arch import AeArch, AutoencoderArch
from trainer.families.arch import Latent
from trainer.families.base import Family
from trainer.nets import init
from trainer.objective.phases import Batch, Loss, Nets, Phase
from trainer.objective.reconstruction import RECONSTRUCTIONS
from trainer.spec import JobSpec


class Decoder(nn.Module):
    """z_BZ → images_BCRR in (0, 1), or with `logits=True` what the sigmoid is taken of: losses need no log of a sigmoid.

    hidden: [B, Z] → [B, units].
    """

    def __init__(self, arch: AutoencoderArch, hidden: nn.Module, units: int) -> None:
        super().__init__()
        self.shape = (arch.channels, arch.resolution, arch.resolution)
        self.hidden = hidden
        self.output = nn.Linear(units, arch.channels * arch.resolution**2)

    def forward(self, z_BZ: Tensor, labels_B: Tensor | None = None, *, logits: bool = False) -> Tensor:
        logits_BCRR: Tensor = self.output(self.hidden(z_BZ)).reshape(-1, *self.shape)
        return logits_BCRR if logits else logits_BCRR.sigmoid()


class Encoder(nn.Module):
    """images_BCRR → codes_BZ; with `features=True` (codes_BZ, features_BF), F the units before the codes."""

    def __init__(self, arch: AeArch) -> None:
        super().__init__()
        self.mean, self.deviation = moments(arch.latent)
        pixels, units = arch.channels * arch.resolution**2, arch.e_hidden
        self.body = nn.Sequential(nn.Flatten(), *two_layers(pixels, units, nn.LeakyReLU(0.2)))
        self.codes = nn.Sequential(
            nn.Linear(units, arch.latent.dim, bias=False), nn.BatchNorm1d(arch.latent.dim, affine=False)
        )

    def forward(self, x_BCRR: Tensor, *, features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        features_BF: Tensor = self.body(x_BCRR)
        codes_BZ: Tensor = self.codes(features_BF) * self.deviation + self.mean
        return (codes_BZ, features_BF) if features else codes_BZ


class Autoencoder(Family[AeArch]):
    """Two players, G and E, that step together."""

    def build(self, arch: AeArch) -> dict[str, nn.Module]:
        """Weights start as N(0, 0.02), as BiGAN's."""
        hidden = nn.Sequential(*two_layers(arch.latent.width, arch.g_hidden, nn.ReLU()))
        nets: dict[str, nn.Module] = {"G": Decoder(arch, hidden, arch.g_hidden), "E": Encoder(arch)}
        for net in nets.values():
            init.normal_(net, 0.02)
        return nets

    def phases(self, spec: JobSpec) -> tuple[Phase, ...]:
        """One phase: both nets on the reconstruction of new real images."""
        distance = RECONSTRUCTIONS[cast("AeArch", spec.arch).reconstruction]

        def loss(nets: Nets, batch: Batch) -> Loss:
            logits = nets["G"](nets["E"](batch.real), logits=True).to(batch.real.dtype)
            value = distance(logits, batch.real)
            return Loss(value, {"G/reconstruction": value.detach()})

        return (Phase("autoencode", ("G", "E"), loss, fresh_data=True),)


def two_layers(inputs: int, units: int, activation: nn.Module) -> tuple[nn.Module, ...]:
    """[B, inputs] → [B, units], twice with the activation; batch norm without parameters before the second."""
    second = (nn.Linear(units, units, bias=False), nn.BatchNorm1d(units, affine=False), activation)
    return nn.Linear(inputs, units), activation, *second


def moments(latent: Latent) -> tuple[float, float]:
    """Mean and standard deviation of one dimension of the prior."""
    if latent.distribution == "normal":
        return 0.0, 1.0
    return 0.5 * (latent.low + latent.high), (latent.high - latent.low) / sqrt(12.0)


FAMILY = Autoencoder()
