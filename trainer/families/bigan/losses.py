"""Who steps on what in BiGAN and in its paper's baselines (Donahue et al. 2017, sections 3 and 4.1).

Shape legend: B batch, Z latent dimensions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.families.arch import Latent
from trainer.families.bigan.arch import BiganArch
from trainer.objective.losses import LOSSES, LossPair
from trainer.objective.phases import Batch, Loss, Nets, Phase, adversarial, decisions, generator_loss
from trainer.spec import JobSpec


def bidirectional(spec: JobSpec) -> tuple[Phase, ...]:
    """D on pairs (x, E(x)) and (G(z), z), and then G and E on the same, at once (section 3, Eq. 2)."""
    pair = LOSSES[spec.objective.loss]
    d, g = adversarial(spec)
    return (
        replace(d, loss=lambda nets, batch: discriminator_loss(nets, batch, pair)),
        replace(
            g,
            name="GE",
            players=("G", "E"),
            loss=lambda nets, batch: generator_encoder_loss(nets, batch, pair),
        ),
    )


def regressed(spec: JobSpec) -> tuple[Phase, ...]:
    """A GAN whose E learns z from G(z): beside it, or together with G (section 4.1, "latent regressor")."""
    arch, pair = cast("BiganArch", spec.arch), LOSSES[spec.objective.loss]
    d, g = adversarial(spec)

    def e_loss(nets: Nets, batch: Batch) -> Loss:
        with torch.no_grad():
            fake = nets["G"](batch.z).to(batch.real.dtype)
        return regression_loss(nets, batch, fake, arch.latent)

    def joint_loss(nets: Nets, batch: Batch) -> Loss:
        drawn: list[Tensor] = []

        def generate(z: Tensor, labels: Tensor | None = None) -> Tensor:
            drawn.append(nets["G"](z, labels))
            return drawn[-1]

        adversary = generator_loss({**nets, "G": generate}, batch, pair)
        regression = regression_loss(nets, batch, drawn[0], arch.latent)
        total = adversary.total + arch.regressor_weight * regression.total
        return Loss(total, {**adversary.metrics, **regression.metrics})

    if arch.encoder_training == "latent-regressor":
        return d, g, Phase("E", ("E",), e_loss)
    return d, replace(g, name="GE", players=("G", "E"), loss=joint_loss)


def discriminator_loss(nets: Nets, batch: Batch, pair: LossPair) -> Loss:
    """D's loss: a real image comes with its code, a generated one with the z that it is made of."""
    with torch.no_grad():
        fake = nets["G"](batch.z).to(batch.real.dtype)
        codes = nets["E"](batch.real).to(batch.real.dtype)
    real_logits, fake_logits = judge(nets, batch, codes, fake)
    loss = pair.d(real_logits, fake_logits)
    return Loss(
        loss, {"D/loss": loss.detach(), **decisions(real_logits.detach(), fake_logits.detach(), pair.threshold)}
    )


def generator_encoder_loss(nets: Nets, batch: Batch, pair: LossPair) -> Loss:
    """The loss of G and E together: both kinds of pairs have to be taken for the other kind."""
    real_logits, fake_logits = judge(nets, batch, nets["E"](batch.real), nets["G"](batch.z))
    loss = deceiving(pair, real_logits, fake_logits)
    return Loss(loss, {"G/loss": loss.detach()})


def deceiving(pair: LossPair, real_B: Tensor, fake_B: Tensor) -> Tensor:
    """What G and E minimise, a scalar: G's loss on generated pairs, and the same on encoded ones as D's mirror image
    sees them (2 · threshold − logit).

    For `minimax` this is V itself (section 3, Eq. 2), for `non-saturating` the loss with real and fake exchanged of
    section 3.4, for `wasserstein` E D(x, E(x)) − E D(G(z), z). A relativistic loss compares the two kinds already.
    """
    if pair.relativistic:
        return pair.g(fake_B, real_B)
    return pair.g(fake_B) + pair.g(2.0 * (pair.threshold or 0.0) - real_B)


def judge(nets: Nets, batch: Batch, codes_BZ: Tensor, fake_BCRR: Tensor) -> tuple[Tensor, Tensor]:
    """D's logits of (x, E(x)) and of (G(z), z). Two passes: D's batch norm has statistics of each kind of its own."""
    real_logits = nets["D"](batch.real, None, codes_BZ).to(batch.real.dtype)
    fake_logits = nets["D"](fake_BCRR, None, batch.z).to(batch.real.dtype)
    return real_logits, fake_logits


def regression_loss(nets: Nets, batch: Batch, fake_BCRR: Tensor, latent: Latent) -> Loss:
    """How far E(G(z)) is from z, a mean over the dimensions (authors' code).

    Uniform prior: the cross-entropy between z and E's sigmoid, both taken to [0, 1]. Normal prior: half the squared
    difference, which is −log N(z; E(G(z)), 1) up to a constant.
    """
    logits_BZ = nets["E"](fake_BCRR, logits=True).to(batch.real.dtype)
    if latent.distribution == "uniform":
        target_BZ = (batch.z - latent.low) / (latent.high - latent.low)
        loss = F.binary_cross_entropy_with_logits(logits_BZ, target_BZ)
    else:
        loss = 0.5 * F.mse_loss(logits_BZ, batch.z)
    return Loss(loss, {"E/loss": loss.detach()})
