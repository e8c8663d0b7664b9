"""What BigGAN's and BigGAN-deep's nets are made of.

Shape legend: B batch, C channels, R resolution, Z latent dimensions, Y dimensions of a condition, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from trainer.families.base import Family
from trainer.families.biggan.arch import BigganBase
from trainer.nets.attention import SelfAttention
from trainer.nets.norm import CrossReplicaNorm
from trainer.nets.relu import relu_for_conv
from trainer.nets.resample import Conv3
from trainer.nets.spectral import iterate_, spectral
from trainer.objective.phases import Phase, adversarial
from trainer.spec import JobSpec

A = TypeVar("A", bound=BigganBase)
Layer = TypeVar("Layer", bound=nn.Conv2d | nn.Linear | nn.Embedding)


class Layers:
    """Finishes the layers of one net: initial weights as the arch says, biases 0, spectral norm."""

    def __init__(self, arch: BigganBase) -> None:
        self.arch = arch

    def __call__(self, layer: Layer) -> Layer:
        """The layer, initialised and spectrally normalised."""
        return spectral(self.plain(layer))

    def plain(self, layer: Layer) -> Layer:
        """The layer, initialised; as it is on the meta device, where large decompositions would take minutes for nothing."""
        if layer.weight.is_meta:
            return layer
        if self.arch.init == "orthogonal":
            nn.init.orthogonal_(layer.weight)
        else:
            nn.init.normal_(layer.weight, 0.0, 0.02)
        bias = getattr(layer, "bias", None)
        if bias is not None:
            nn.init.zeros_(bias)
        return layer

    def attention(self, channels: int, resolution: int) -> nn.Module:
        """Self-attention where the arch wants it, else the identity."""
        return SelfAttention(channels, wrap=self) if resolution in self.arch.attended else nn.Identity()


class Conditioning:
    """How G's norms are conditioned. width: Y, dimensions of their condition; None: each embeds the labels itself."""

    def __init__(self, make: Layers, width: int | None) -> None:
        self.make, self.width = make, width

    def project(self, channels: int) -> nn.Module:
        """condition_BY → [B, channels], spectrally normalised without a bias; or labels_B → [B, channels].

        An embedding in G is not normalised, nor is the shared one: the authors found that it hurts.
        """
        if self.width is None:
            return self.make.plain(nn.Embedding(self.make.arch.classes, channels))
        return self.make(nn.Linear(self.width, channels, bias=False))


class ConditionalNorm(nn.Module):
    """relu((1 + gain) · normalised x + bias), gain and bias [B, C] from the condition (de Vries et al. 2017)."""

    def __init__(self, channels: int, conditioning: Conditioning) -> None:
        super().__init__()
        self.norm = CrossReplicaNorm(channels, eps=conditioning.make.arch.norm_eps)
        self.gain = conditioning.project(channels)
        self.bias = conditioning.project(channels)

    def forward(self, x_BCRR: Tensor, condition: Tensor) -> Tensor:
        scaled = self.norm.scaled(x_BCRR, 1.0 + self.gain(condition), self.bias(condition))
        return relu_for_conv(scaled, inplace=True)


class ToPixels(nn.Module):
    """x_BCRR → images in (−1, 1): norm with a learned gain and bias, ReLU, 3 × 3 convolution, tanh."""

    def __init__(self, inputs: int, channels: int, make: Layers) -> None:
        super().__init__()
        self.norm = CrossReplicaNorm(inputs)
        self.gain = nn.Parameter(torch.ones(inputs))
        self.bias = nn.Parameter(torch.zeros(inputs))
        self.conv = make(Conv3(inputs, channels))

    def forward(self, x_BCRR: Tensor) -> Tensor:
        scaled = self.norm.scaled(x_BCRR, self.gain, self.bias)
        pixels: Tensor = self.conv(relu_for_conv(scaled, inplace=True))
        return pixels.tanh()


class Judgement(nn.Module):
    """x_BCRR, labels_B → logits_B: ψ(f) + ⟨embedding, f⟩ with f the sum of relu(x) over the map (Miyato & Koyama 2018)."""

    def __init__(self, features: int, classes: int, make: Layers) -> None:
        super().__init__()
        self.linear = make(nn.Linear(features, 1))
        self.embed = make(nn.Embedding(classes, features))

    def forward(self, x_BCRR: Tensor, labels_B: Tensor) -> Tensor:
        features_BF = relu(x_BCRR).sum(dim=(2, 3))
        logits: Tensor = self.linear(features_BF).squeeze(1) + (self.embed(labels_B) * features_BF).sum(dim=1)
        return logits


class BigganFamily(Family[A], Generic[A]):
    """G and D in alternation; loss and penalties are the spec's. Spectral norms iterate once after each update."""

    generator: Callable[[A], nn.Module]
    discriminator: Callable[[A], nn.Module]

    def build(self, arch: A) -> dict[str, nn.Module]:
        return {"G": type(self).generator(arch), "D": type(self).discriminator(arch)}

    def phases(self, spec: JobSpec) -> tuple[Phase, ...]:
        return tuple(replace(phase, after_update=(*phase.after_update, iterate_)) for phase in adversarial(spec))
