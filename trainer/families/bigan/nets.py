"""The nets of BiGAN's permutation-invariant experiment (Donahue et al. 2017, section 4.1, appendix C.1).

Each net has two hidden layers, the second with batch norm that has no parameters, and a linear output; no layer has a
bias. ReLU in G, leaky ReLU in E and D. D sees z through a linear map that is added to its second layer before the norm
(authors' code). The code starts the output layers of D, and of a regressor's E, at zero; here they start as the others.

Shape legend: B batch, C channels, R resolution, Z latent dimensions, P inputs, U units.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn

from trainer.families.base import Family
from trainer.families.bigan.arch import BiganArch
from trainer.families.bigan.losses import bidirectional, regressed
from trainer.nets import init
from trainer.objective.phases import Phase
from trainer.spec import JobSpec

LEAK = 0.2


class Body(nn.Module):
    """x_BP [, z_BZ] → h_BU: two hidden layers; z, where there is one, enters the second."""

    def __init__(self, inputs: int, units: int, activation: nn.Module, *, latent: int = 0) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, units, bias=False)
        self.second = nn.Linear(units, units, bias=False)
        self.z = nn.Linear(latent, units, bias=False) if latent else None
        self.norm = nn.BatchNorm1d(units, affine=False)
        self.activation = activation

    def forward(self, x_BP: Tensor, z_BZ: Tensor | None = None) -> Tensor:
        h_BU = self.second(self.activation(self.first(x_BP)))
        if self.z is not None and z_BZ is not None:
            h_BU = h_BU + self.z(z_BZ)
        found: Tensor = self.activation(self.norm(h_BU))
        return found


class Generator(nn.Module):
    """z_BZ → images_BCRR in (0, 1)."""

    def __init__(self, arch: BiganArch) -> None:
        super().__init__()
        self.shape = (arch.channels, arch.resolution, arch.resolution)
        self.body = Body(arch.latent.width, arch.g_hidden, nn.ReLU())
        self.output = nn.Linear(arch.g_hidden, arch.channels * arch.resolution**2, bias=False)
        init.normal_(self, 0.02)

    def forward(self, z_BZ: Tensor, labels_B: Tensor | None = None) -> Tensor:
        pixels_BP: Tensor = self.output(self.body(z_BZ)).sigmoid()
        return pixels_BP.reshape(-1, *self.shape)


class Encoder(nn.Module):
    """images_BCRR → codes_BZ in the prior's range.

    With `features=True` (codes_BZ, features_BU), U the units before the output: what the paper's 1-NN protocol uses.
    With `logits=True` the output before it is brought into the range of a uniform prior.
    """

    def __init__(self, arch: BiganArch) -> None:
        super().__init__()
        prior = arch.latent
        self.bounds = (prior.low, prior.high) if prior.distribution == "uniform" else None
        self.body = Body(arch.channels * arch.resolution**2, arch.e_hidden, nn.LeakyReLU(LEAK))
        self.output = nn.Linear(arch.e_hidden, prior.width, bias=False)
        init.normal_(self, 0.02)

    def forward(
        self, x_BCRR: Tensor, *, features: bool = False, logits: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        features_BU = self.body(x_BCRR.flatten(1))
        codes_BZ: Tensor = self.output(features_BU)
        if self.bounds is not None and not logits:
            low, high = self.bounds
            codes_BZ = low + (high - low) * codes_BZ.sigmoid()
        return (codes_BZ, features_BU) if features else codes_BZ


class Discriminator(nn.Module):
    """images_BCRR, codes_BZ → logits_B; the baselines' D looks at the images alone.

    With `features=True` (logits_B, features_BU), U the units before the output.
    """

    def __init__(self, arch: BiganArch) -> None:
        super().__init__()
        latent = arch.latent.width if arch.encoder_training == "bigan" else 0
        self.body = Body(arch.channels * arch.resolution**2, arch.d_hidden, nn.LeakyReLU(LEAK), latent=latent)
        self.output = nn.Linear(arch.d_hidden, 1, bias=False)
        init.normal_(self, 0.02)

    def forward(
        self, x_BCRR: Tensor, labels_B: Tensor | None = None, z_BZ: Tensor | None = None, *, features: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        features_BU = self.body(x_BCRR.flatten(1), z_BZ)
        logits_B: Tensor = self.output(features_BU).squeeze(1)
        return (logits_B, features_BU) if features else logits_B


class Bigan(Family[BiganArch]):
    """Three players: D, and G and E against it."""

    def build(self, arch: BiganArch) -> dict[str, nn.Module]:
        return {"G": Generator(arch), "E": Encoder(arch), "D": Discriminator(arch)}

    def judge(
        self, nets: Mapping[str, nn.Module], images: Tensor, labels: Tensor | None, z: Tensor | None = None
    ) -> Tensor:
        """Of pairs: (G(z), z), and (x, E(x)) where there is no z. The baselines' D passes over what isn't its own."""
        logits_B: Tensor = nets["D"](images, labels, nets["E"](images) if z is None else z)
        return logits_B

    def phases(self, spec: JobSpec) -> tuple[Phase, ...]:
        """`bigan`: D, then G and E at once. `latent-regressor`: D, G, E. `joint-latent-regressor`: D, then G and E."""
        if cast("BiganArch", spec.arch).encoder_training == "bigan":
            return bidirectional(spec)
        return regressed(spec)


FAMILY = Bigan()
