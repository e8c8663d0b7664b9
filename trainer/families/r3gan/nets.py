"""R3GAN's nets (Huang et al. 2024, section 4, configuration E; the authors' code where the paper is silent).

A modern ResNet: 1 × 1 convolution that expands, grouped 3 × 3, 1 × 1 back, leaky ReLU between them; no normalisation, so
that D treats images alone and R1 and R2 can be taken. The blocks start as the identity (Fixup, Zhang et al. 2019): their last
layer at 0, the others scaled down by the number of blocks. Between resolutions: bilinear resampling, and a 1 × 1 convolution.
G begins with a learned basis of maps that z weighs, D ends with one that its last maps are compared with. D's logit of a
labelled image is the product of its features with the label's embedding (Miyato & Koyama 2018).

The authors' G has no tanh at its output; here it has one, as G's images lie in the pixel range.

Shape legend: B batch, C channels, R resolution, Z latent dimensions, F features.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from trainer.families.base import Family
from trainer.families.r3gan.arch import R3ganArch
from trainer.nets.conv import doublings
from trainer.nets.resample import Down2, up2

SLOPE = 0.2
GAIN = sqrt(2.0 / (1.0 + SLOPE**2))
"""Gain that keeps the variance through a leaky ReLU (He et al. 2015)."""


def scaled(layer: nn.Module, gain: float = 1.0) -> nn.Module:
    """The layer with weights N(0, gain² / fan-in) and biases 0."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    nn.init.normal_(weight, 0.0, gain / sqrt(weight[0].numel()))
    if isinstance(layer.bias, Tensor):
        nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    """x_BCRR → x + f(x), f(x) = 0 at the start. `depth`: residual blocks in the net, for Fixup's scale of the inner layers.

    Fixup scales the weights of a branch with m layers in a net of L branches by L^(−1 / (2m − 2)); m = 3.
    """

    def __init__(self, width: int, arch: R3ganArch, depth: int) -> None:
        super().__init__()
        inner, gain = width * arch.expansion, GAIN * depth**-0.25
        self.expand = scaled(nn.Conv2d(width, inner, 1), gain)
        self.mix = scaled(nn.Conv2d(inner, inner, 3, padding=1, groups=inner // arch.group_width), gain)
        self.project = scaled(nn.Conv2d(inner, width, 1, bias=False), 0.0)

    def forward(self, x_BCRR: Tensor) -> Tensor:
        hidden = leaky_relu(self.expand(x_BCRR), SLOPE)
        change: Tensor = self.project(leaky_relu(self.mix(hidden), SLOPE))
        return x_BCRR + change


class Up(nn.Module):
    """x_BCRR → [B, outputs, 2R, 2R]. The 1 × 1 convolution is taken at the low resolution: the two commute."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.widths = scaled(nn.Conv2d(inputs, outputs, 1, bias=False)) if inputs != outputs else nn.Identity()

    def forward(self, x_BCRR: Tensor) -> Tensor:
        return up2(self.widths(x_BCRR))


def down(inputs: int, outputs: int) -> nn.Sequential:
    """x_BC(2R)(2R) → [B, outputs, R, R]."""
    widths = scaled(nn.Conv2d(inputs, outputs, 1, bias=False)) if inputs != outputs else nn.Identity()
    return nn.Sequential(Down2(), widths)


def widths_of(arch: R3ganArch, width: int) -> list[int]:
    """The trunk's channels at each resolution, from the full one to the base."""
    _, count = doublings(arch.resolution)
    return [min(width << i, arch.max_width) for i in range(count + 1)]


class Generator(nn.Module):
    """z_BZ [, labels_B] → images_BCRR in (−1, 1)."""

    def __init__(self, arch: R3ganArch) -> None:
        super().__init__()
        base, _ = doublings(arch.resolution)
        widths = widths_of(arch, arch.g_width)[::-1]
        depth = len(widths) * arch.blocks
        self.embedding = embedding(arch) if arch.classes else None
        inputs = arch.latent.width + (arch.latent.dim if arch.classes else 0)
        self.weigh = scaled(nn.Linear(inputs, widths[0], bias=False))
        self.basis = nn.Parameter(torch.empty(widths[0], base, base))
        nn.init.normal_(self.basis)
        stages: list[nn.Module] = []
        for i, width in enumerate(widths):
            if i:
                stages.append(Up(widths[i - 1], width))
            stages.extend(Block(width, arch, depth) for _ in range(arch.blocks))
        self.stages = nn.Sequential(*stages)
        self.to_pixels = scaled(nn.Conv2d(widths[-1], arch.channels, 1))

    def forward(self, z_BZ: Tensor, labels_B: Tensor | None = None) -> Tensor:
        if self.embedding is not None and labels_B is not None:
            z_BZ = torch.cat([z_BZ, self.embedding(labels_B)], dim=1)
        x = self.weigh(z_BZ)[:, :, None, None] * self.basis
        pixels: Tensor = self.to_pixels(self.stages(x))
        return pixels.tanh()


class Discriminator(nn.Module):
    """images_BCRR [, labels_B] → logits_B."""

    def __init__(self, arch: R3ganArch) -> None:
        super().__init__()
        base, _ = doublings(arch.resolution)
        widths = widths_of(arch, arch.d_width)
        depth = len(widths) * arch.blocks
        self.from_pixels = scaled(nn.Conv2d(arch.channels, widths[0], 1))
        stages: list[nn.Module] = []
        for i, width in enumerate(widths):
            if i:
                stages.append(down(widths[i - 1], width))
            stages.extend(Block(width, arch, depth) for _ in range(arch.blocks))
        self.stages = nn.Sequential(*stages)
        self.basis = scaled(nn.Conv2d(widths[-1], widths[-1], base, groups=widths[-1], bias=False))
        self.embedding = embedding(arch) if arch.classes else None
        self.output = scaled(nn.Linear(widths[-1], arch.latent.dim if arch.classes else 1, bias=False))

    def forward(self, x_BCRR: Tensor, labels_B: Tensor | None = None) -> Tensor:
        features_BF: Tensor = self.output(self.basis(self.stages(self.from_pixels(x_BCRR))).flatten(1))
        if self.embedding is not None and labels_B is not None:
            features_BF = (features_BF * self.embedding(labels_B)).sum(dim=1, keepdim=True)
        return features_BF.squeeze(1)


def embedding(arch: R3ganArch) -> nn.Embedding:
    """labels_B → [B, latent.dim], N(0, 1 / classes): the authors' linear layer of the one-hot."""
    table = nn.Embedding(arch.classes, arch.latent.dim)
    nn.init.normal_(table.weight, 0.0, arch.classes**-0.5)
    return table


class R3gan(Family[R3ganArch]):
    """Two players, G and D, in alternation; loss and penalties are the spec's."""

    def build(self, arch: R3ganArch) -> dict[str, nn.Module]:
        return {"G": Generator(arch), "D": Discriminator(arch)}


FAMILY = R3gan()
