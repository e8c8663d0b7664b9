"""InfoGAN (Chen et al. 2016) as appendix C.1 and the authors' code build it, at any resolution with a base map of 4 or 7.

Batch norm follows every layer but D's first and the outputs, so those layers have no bias of their own. G ends in a
sigmoid (the authors' code takes pixels as means of Bernoulli variables).

Shape legend: B batch, C channels, R resolution, Z latent dimensions, F features, W columns of the codes.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from trainer.families.base import Family
from trainer.families.infogan.arch import InfoganArch
from trainer.nets import init
from trainer.nets.conv import double, doublings, halve
from trainer.objective.information import Information, information
from trainer.objective.losses import LOSSES
from trainer.objective.penalties import corrections, projections
from trainer.objective.phases import Batch, Loss, Nets, Phase, d_updates, decisions
from trainer.spec import JobSpec

KERNEL = 4


class Generator(nn.Module):
    """z_BZ → images_BCRR in (0, 1): two fully connected layers, then transposed convolutions."""

    def __init__(self, arch: InfoganArch) -> None:
        super().__init__()
        base, count = doublings(arch.resolution)
        widths = [min(arch.g_width << (count - 1 - i), arch.max_width) for i in range(count)]
        layers: list[nn.Module] = [*_dense(arch.latent.width, arch.g_hidden, nn.ReLU())]
        layers += [*_dense(arch.g_hidden, widths[0] * base**2, nn.ReLU()), nn.Unflatten(1, (widths[0], base, base))]
        for inputs, outputs in pairwise(widths):
            layers += [double(inputs, outputs, KERNEL), nn.BatchNorm2d(outputs), nn.ReLU()]
        layers += [double(widths[-1], arch.channels, KERNEL, bias=True), nn.Sigmoid()]
        self.layers = nn.Sequential(*layers)
        init.normal_(self, 0.02)

    def forward(self, z_BZ: Tensor, labels_B: Tensor | None = None) -> Tensor:
        images_BCRR: Tensor = self.layers(z_BZ)
        return images_BCRR


class Discriminator(nn.Module):
    """images_BCRR → logits_B; with `features=True` (logits_B, features_BF), the features that Q reads."""

    def __init__(self, arch: InfoganArch) -> None:
        super().__init__()
        base, count = doublings(arch.resolution)
        widths = [min(arch.d_width << i, arch.max_width) for i in range(count)]
        leak = arch.leak
        layers: list[nn.Module] = [halve(arch.channels, widths[0], KERNEL, bias=True), nn.LeakyReLU(leak)]
        for inputs, outputs in pairwise(widths):
            layers += [halve(inputs, outputs, KERNEL), nn.BatchNorm2d(outputs), nn.LeakyReLU(leak)]
        layers += [nn.Flatten(), *_dense(widths[-1] * base**2, arch.d_hidden, nn.LeakyReLU(leak))]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(arch.d_hidden, 1)
        init.normal_(self, 0.02)

    def forward(
        self, x_BCRR: Tensor, labels_B: Tensor | None = None, *, features: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        features_BF: Tensor = self.body(x_BCRR)
        logits_B: Tensor = self.head(features_BF).squeeze(1)
        return (logits_B, features_BF) if features else logits_B


class Posterior(nn.Module):
    """Q: features_BF of D → posterior_BW: for each code, in the order of its columns of z, logits or a mean."""

    def __init__(self, arch: InfoganArch) -> None:
        super().__init__()
        columns = arch.latent.width - arch.latent.dim
        hidden = _dense(arch.d_hidden, arch.q_hidden, nn.LeakyReLU(arch.leak))
        self.layers = nn.Sequential(*hidden, nn.Linear(arch.q_hidden, columns))
        init.normal_(self, 0.02)

    def forward(self, features_BF: Tensor) -> Tensor:
        posterior_BW: Tensor = self.layers(features_BF)
        return posterior_BW


class Infogan(Family[InfoganArch]):
    """Three players: G, D, and Q, which steps with D."""

    def build(self, arch: InfoganArch) -> dict[str, nn.Module]:
        return {"G": Generator(arch), "D": Discriminator(arch), "Q": Posterior(arch)}

    def phases(self, spec: JobSpec) -> tuple[Phase, ...]:
        """D and Q on D's loss − λ L_I, then G on its loss − λ L_I (Eq. 6), as the authors' code does.

        Both phases draw new latents. Clipping, where the objective has it, is for D alone.
        """
        objective = spec.objective
        clips = tuple(_for_d(clip) for clip in projections(objective))
        repeats = d_updates(objective)
        d = Phase("D", ("D", "Q"), _d_loss(spec), repeats=repeats, fresh_data=True, after_update=clips)
        return d, Phase("G", ("G",), _g_loss(spec), before_update=corrections(objective))


def _d_loss(spec: JobSpec) -> Callable[[Nets, Batch], Loss]:
    arch, pair = _arch(spec), LOSSES[spec.objective.loss]

    def d_loss(nets: Nets, batch: Batch) -> Loss:
        with torch.no_grad():
            fake = nets["G"](batch.z).to(batch.real.dtype)
        real_logits = nets["D"](batch.real).to(batch.real.dtype)
        fake_logits, features = nets["D"](fake, features=True)
        fake_logits = fake_logits.to(batch.real.dtype)
        found = _information(arch, nets, batch, features if arch.maximise_information else features.detach())
        loss = pair.d(real_logits, fake_logits)
        decided = decisions(real_logits.detach(), fake_logits.detach(), pair.threshold)
        total = loss - found.weighted(arch.categorical_weight, arch.continuous_weight)
        return Loss(total, {"D/loss": loss.detach(), **decided, **found.metrics()})

    return d_loss


def _g_loss(spec: JobSpec) -> Callable[[Nets, Batch], Loss]:
    arch, pair = _arch(spec), LOSSES[spec.objective.loss]

    def g_loss(nets: Nets, batch: Batch) -> Loss:
        fake_logits, features = nets["D"](nets["G"](batch.z), features=True)
        real_logits = nets["D"](batch.real).to(batch.real.dtype) if pair.relativistic else None
        loss = total = pair.g(fake_logits.to(batch.real.dtype), real_logits)
        if arch.maximise_information:
            found = _information(arch, nets, batch, features)
            total = loss - found.weighted(arch.categorical_weight, arch.continuous_weight)
        return Loss(total, {"G/loss": loss.detach()})

    return g_loss


def _information(arch: InfoganArch, nets: Nets, batch: Batch, features_BF: Tensor) -> Information:
    posterior_BW = nets["Q"](features_BF).to(batch.real.dtype)
    return information(arch.latent.codes, batch.z[:, arch.latent.dim :], posterior_BW, arch.sigma)


def _for_d(change: Callable[[nn.Module], None]) -> Callable[[nn.Module], None]:
    return lambda net: change(net) if isinstance(net, Discriminator) else None


def _dense(inputs: int, outputs: int, activation: nn.Module) -> tuple[nn.Module, ...]:
    return nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), activation


def _arch(spec: JobSpec) -> InfoganArch:
    return cast("InfoganArch", spec.arch)


FAMILY = Infogan()
