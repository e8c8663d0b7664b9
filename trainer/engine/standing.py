"""Standing statistics: what the batch norms of a generator that is sampled normalise by (Brock et al. 2018, appendix B).

Running statistics are of other weights than the moving average's, and of the whole prior even where truncated latents are
sampled. Standing ones are taken anew, of these very weights, from latents and labels of the distribution that is then
sampled from, truncation included. They are a function of weights, spec and truncation: no part of a training's state.

Shape legend: B batch, Z latent dimensions, C channels.
"""

from __future__ import annotations

import copy
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.engine.random import generator as seeded
from trainer.engine.random import latents
from trainer.engine.sampling import truncated
from trainer.families.base import AnyFamily
from trainer.nets.norm import CrossReplicaNorm
from trainer.spec import JobSpec

STATISTICS = ("running_mean", "running_var")
"""The buffers of a batch norm that are standing statistics."""


def standing(family: AnyFamily, spec: JobSpec, generator: nn.Module, truncation: float | None = None) -> nn.Module:
    """The generator as it is sampled at this truncation: a copy with standing statistics in evaluation mode; or the
    generator itself, if `evaluation.standing_batches` is 0 or it has no batch norm.

    The mean and the variance of each channel are averages over the batches, each normalised by its own statistics as in
    training. Every rank computes all of them by itself and exchanges nothing, so one rank may do it alone.
    truncation: τ ≥ 0, or None for the whole prior; at 0 all noise is 0, which is the limit of small τ.
    """
    if not stands(spec, generator):
        return generator
    net = copy.deepcopy(generator).eval()
    norms = [part for part in net.modules() if tracks(part)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None  # the plain average of all batches
        if isinstance(norm, CrossReplicaNorm):
            norm.across_ranks = False
    device = next(net.parameters()).device
    with torch.no_grad():
        for number in range(spec.evaluation.standing_batches):
            z_BZ, labels_B = _inputs(family, spec, number, truncation)
            net(z_BZ.to(device), None if labels_B is None else labels_B.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum
    return net


def stands(spec: JobSpec, generator: nn.Module) -> bool:
    """Whether the spec asks for standing statistics and the generator has batch norms to have them."""
    return spec.evaluation.standing_batches > 0 and any(tracks(part) for part in generator.modules())


def statistics(generator: nn.Module) -> dict[str, Tensor]:
    """The means and variances [C] of its batch norms by the names of their buffers, live and not copied."""
    return {
        f"{name}.{buffer}" if name else buffer: getattr(part, buffer)
        for name, part in generator.named_modules()
        if tracks(part)
        for buffer in STATISTICS
    }


def tracks(part: nn.Module) -> TypeGuard[_BatchNorm]:
    """Whether it is a batch norm that normalises by kept statistics in evaluation mode."""
    return isinstance(part, _BatchNorm) and part.running_mean is not None


def batch_of(spec: JobSpec) -> int:
    """Images of one of the batches: as many as a worker's device holds in G's phase, at least 2."""
    return max(2, spec.train.micro(("G",)) or spec.local_batch(spec.resources.workers))


def described(spec: JobSpec, generator: nn.Module) -> str:
    """Which statistics are used, for a score's provenance."""
    if not stands(spec, generator):
        return "running"
    return f"standing, {spec.evaluation.standing_batches} batches of {batch_of(spec)}"


def _inputs(family: AnyFamily, spec: JobSpec, number: int, truncation: float | None) -> tuple[Tensor, Tensor | None]:
    """z_BZ and labels_B of one batch: functions of (train.seed, number of the batch) alone, by the prior that is sampled."""
    batch, seed = batch_of(spec), spec.train.seed
    z, labels = latents(family, spec.arch, batch, slice(0, batch), seed=seed, phase="standing", number=number)
    if truncation is not None:
        noise = slice(0, spec.arch.latent.dim)
        z[:, noise] = truncated(z[:, noise], truncation, seeded(seed, "standing-truncation", number))
    return z, labels
