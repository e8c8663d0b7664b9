"""Autoencoders: the likelihood's lower bounds of a VAE, and reconstruction errors.

Shape legend: N images, S samples of z for each, Z latent dimensions, F pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import torch
from torch import Tensor

from benchmarks.reproduce.case import Case
from benchmarks.reproduce.figures import Figure
from trainer.evaluate.likelihood import Bounds, bounds, log_bernoulli, log_normal

AT_ONCE = 100
"""Test images whose bounds are taken together."""


def likelihood_bounds(case: Case) -> Iterator[Figure]:
    """ELBO and the importance-weighted bound on test images (Burda et al. 2016, Eq. 8), Bernoulli pixels.

    A VAE trained on binarised pixels is measured on test images binarised once by a fixed draw, which makes both bounds
    of a likelihood. One trained on grey pixels is measured on them: the figures then bound no likelihood of images.
    """
    binary = bool(getattr(case.trained.spec.arch, "binarise", False))
    images = case.inputs("test")[0][: case.scale.bounded]
    if binary:
        images = torch.bernoulli(images, generator=torch.Generator().manual_seed(0))
    found = vae_bounds(case, images, case.scale.weights)
    pixels = f"{'binarised' if binary else 'grey'} pixels, {len(images):,} test images"
    yield _mean(f"ELBO ({pixels})", found.elbo)
    yield _mean(f"importance-weighted bound, {case.scale.weights} samples ({pixels})", found.weighted)


@torch.no_grad()
def vae_bounds(case: Case, images_NCHW: Tensor, samples: int) -> Bounds:
    """Both bounds of each image: z from E's posterior, x from G's logits, prior N(0, 1)."""
    encoder, decoder = case.trained.nets.net("E"), case.trained.nets.net("G")
    generator = torch.Generator().manual_seed(1)

    def propose(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
        mean, log_variance = encoder(x, moments=True)
        noise = torch.randn(count, *mean.shape, generator=generator)
        z = mean + noise * (0.5 * log_variance).exp()
        return z, log_normal(z, mean, log_variance)

    def log_joint(x: Tensor, z_SNZ: Tensor) -> Tensor:
        logits = decoder(z_SNZ.flatten(0, 1), logits=True).reshape(*z_SNZ.shape[:2], -1)
        return log_bernoulli(x.flatten(1), logits) + log_normal(z_SNZ)

    parts = [bounds(chunk, propose, log_joint, samples) for chunk in torch.split(images_NCHW, AT_ONCE)]
    return Bounds(torch.cat([part.elbo for part in parts]), torch.cat([part.weighted for part in parts]))


@torch.no_grad()
def reconstruction_error(case: Case) -> Iterator[Figure]:
    """Mean squared and absolute error a pixel of G(E(x)) over the test images, pixels in [0, 1]."""
    encoder, decoder = case.trained.nets.net("E"), case.trained.nets.net("G")
    low, high = case.trained.spec.arch.pixel_range
    squared, absolute = [], []
    for x in torch.split(case.inputs("test")[0], 1000):
        difference = (decoder(encoder(x)) - x).flatten(1) / (high - low)
        squared.append(difference.square().mean(dim=1))
        absolute.append(difference.abs().mean(dim=1))
    yield _mean("squared error of a reconstructed test pixel", torch.cat(squared), unit="", lower=True)
    yield _mean("absolute error of a reconstructed test pixel", torch.cat(absolute), unit="", lower=True)


def _mean(name: str, values_N: Tensor, unit: str = "nats", lower: bool = False) -> Figure:
    error = float(values_N.double().std(correction=1)) / sqrt(len(values_N))
    return Figure(name, float(values_N.double().mean()), error, better="lower" if lower else "higher", unit=unit)
