"""BigGAN (Brock et al. 2018, section 3 and appendix B, figure 15).

Both nets are residual. G's norms take their gains and biases from the class embedding and a part of z; D is a projection
discriminator without norms. A 1 × 1 convolution commutes with nearest upsampling and with mean pooling, so shortcuts are
convolved at the lower resolution; 3 × 3 convolutions and resampling are fused (`nets.resample`). Both are exact.

Shape legend: B batch, C channels, R resolution, Z latent dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from trainer.families.biggan.arch import BigganArch
from trainer.families.biggan.parts import BigganFamily, ConditionalNorm, Conditioning, Judgement, Layers, ToPixels
from trainer.nets.relu import relu_for_conv
from trainer.nets.resample import Conv3, ConvPool3, UpConv3, add_nearest2


class UpBlock(nn.Module):
    """x_BCRR, condition → [B, outputs, 2R, 2R]."""

    def __init__(self, inputs: int, outputs: int, conditioning: Conditioning) -> None:
        super().__init__()
        make = conditioning.make
        self.norm1 = ConditionalNorm(inputs, conditioning)
        self.conv1 = make(UpConv3(inputs, outputs))
        self.norm2 = ConditionalNorm(outputs, conditioning)
        self.conv2 = make(Conv3(outputs, outputs))
        self.shortcut = make(nn.Conv2d(inputs, outputs, 1))

    def forward(self, x_BCRR: Tensor, condition: Tensor) -> Tensor:
        hidden = self.conv1(self.norm1(x_BCRR, condition))
        changed: Tensor = self.conv2(self.norm2(hidden, condition))
        return add_nearest2(changed, self.shortcut(x_BCRR))


class Generator(nn.Module):
    """z_BZ, labels_B → images_BCRR in (−1, 1)."""

    def __init__(self, arch: BigganArch) -> None:
        super().__init__()
        make, stages = Layers(arch), arch.g_stages
        self.parts = arch.doublings + 1 if arch.skip_z else 0
        self.base = arch.base
        self.shared = make.plain(nn.Embedding(arch.classes, arch.shared_dim)) if arch.shared_embedding else None
        width = arch.shared_dim + (arch.chunk if arch.skip_z else 0)
        conditioning = Conditioning(make, width if arch.shared_embedding else None)
        self.linear = make(nn.Linear(arch.chunk, stages[0][0] * arch.base**2))
        self.blocks = nn.ModuleList(UpBlock(inputs, outputs, conditioning) for inputs, outputs in stages)
        self.attention = nn.ModuleList(
            make.attention(outputs, arch.base << i) for i, (_, outputs) in enumerate(stages, 1)
        )
        self.to_pixels = ToPixels(stages[-1][1], arch.channels, make)

    @property
    def unpenalised(self) -> tuple[str, ...]:
        """Matrices that orthogonal regularisation leaves out: the shared embedding (section 3.1)."""
        return () if self.shared is None else ("shared.weight",)

    def forward(self, z_BZ: Tensor, labels_B: Tensor) -> Tensor:
        first, conditions = self._conditions(z_BZ, labels_B)
        x: Tensor = self.linear(first).unflatten(1, (-1, self.base, self.base))
        for block, attention, condition in zip(self.blocks, self.attention, conditions, strict=True):
            x = attention(block(x, condition))
        pixels: Tensor = self.to_pixels(x)
        return pixels

    def _conditions(self, z_BZ: Tensor, labels_B: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the first layer takes, and the condition of each block."""
        shared = labels_B if self.shared is None else self.shared(labels_B)
        if not self.parts:
            return z_BZ, [shared] * len(self.blocks)
        first, *others = z_BZ.chunk(self.parts, dim=1)
        return first, [torch.cat([shared, part], dim=1) for part in others]


class DownBlock(nn.Module):
    """x_BCRR → [B, outputs, R/2, R/2], or of the same resolution if it doesn't halve. first: of images, so no ReLU."""

    def __init__(self, inputs: int, outputs: int, halves: bool, first: bool, make: Layers) -> None:
        super().__init__()
        self.first, self.halves = first, halves
        self.conv1 = make(Conv3(inputs, outputs))
        self.conv2 = make(ConvPool3(outputs, outputs) if halves else Conv3(outputs, outputs))
        learned = halves or inputs != outputs
        self.shortcut = make(nn.Conv2d(inputs, outputs, 1)) if learned else nn.Identity()

    def forward(self, x_BCRR: Tensor) -> Tensor:
        hidden = self.conv1(x_BCRR if self.first else relu_for_conv(x_BCRR))
        changed: Tensor = self.conv2(relu_for_conv(hidden, inplace=True))
        # In place: no gradient of a convolution needs its result.
        return changed.add_(self.shortcut(avg_pool2d(x_BCRR, 2) if self.halves else x_BCRR))


class Discriminator(nn.Module):
    """images_BCRR, labels_B → logits_B."""

    def __init__(self, arch: BigganArch) -> None:
        super().__init__()
        make = Layers(arch)
        layers: list[nn.Module] = []
        inputs: int = arch.channels
        size = arch.resolution
        for outputs, halves in arch.d_stages:
            layers.append(DownBlock(inputs, outputs, halves, first=not layers, make=make))
            inputs, size = outputs, size // 2 if halves else size
            if halves:
                layers.append(make.attention(outputs, size))
        self.blocks = nn.Sequential(*layers)
        self.judgement = Judgement(inputs, arch.classes, make)

    def forward(self, x_BCRR: Tensor, labels_B: Tensor) -> Tensor:
        logits: Tensor = self.judgement(self.blocks(x_BCRR), labels_B)
        return logits


class Biggan(BigganFamily[BigganArch]):
    """BigGAN."""

    generator = Generator
    discriminator = Discriminator


FAMILY = Biggan()
