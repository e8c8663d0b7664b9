"""BigGAN-deep (Brock et al. 2018, appendix B, figure 16).

Bottleneck blocks whose shortcuts have no weights in G: where the channels get fewer, the last are dropped. In D, where they
get more, a 1 × 1 convolution makes those that are missing. All of z stands beside the class embedding in each norm.

Shape legend: B batch, C channels, R resolution, Z latent dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from trainer.families.biggan.parts import BigganFamily, ConditionalNorm, Conditioning, Judgement, Layers, ToPixels
from trainer.families.biggan_deep.arch import BigganDeepArch
from trainer.nets.relu import relu_for_conv
from trainer.nets.resample import Conv3, UpConv3, add_nearest2

BOTTLENECK = 4
"""How many times fewer channels the inner convolutions have."""


class UpBlock(nn.Module):
    """x_BCRR, condition → [B, outputs, 2R, 2R], or of the same resolution if it doesn't double."""

    def __init__(self, inputs: int, outputs: int, doubles: bool, conditioning: Conditioning) -> None:
        super().__init__()
        make, hidden = conditioning.make, inputs // BOTTLENECK
        self.outputs, self.doubles = outputs, doubles
        self.norm1 = ConditionalNorm(inputs, conditioning)
        self.conv1 = make(nn.Conv2d(inputs, hidden, 1))
        self.norm2 = ConditionalNorm(hidden, conditioning)
        self.conv2 = make(UpConv3(hidden, hidden) if doubles else Conv3(hidden, hidden))
        self.norm3 = ConditionalNorm(hidden, conditioning)
        self.conv3 = make(Conv3(hidden, hidden))
        self.norm4 = ConditionalNorm(hidden, conditioning)
        self.conv4 = make(nn.Conv2d(hidden, outputs, 1))

    def forward(self, x_BCRR: Tensor, condition: Tensor) -> Tensor:
        h = self.conv1(self.norm1(x_BCRR, condition))
        h = self.conv2(self.norm2(h, condition))
        h = self.conv3(self.norm3(h, condition))
        changed: Tensor = self.conv4(self.norm4(h, condition))
        kept = x_BCRR[:, : self.outputs]
        return add_nearest2(changed, kept) if self.doubles else changed + kept


class Generator(nn.Module):
    """z_BZ, labels_B → images_BCRR in (−1, 1)."""

    def __init__(self, arch: BigganDeepArch) -> None:
        super().__init__()
        make, stages, z = Layers(arch), arch.g_stages, arch.latent.width
        self.base, self.skip_z, self.per_stage = arch.base, arch.skip_z, arch.blocks
        self.shared = make.plain(nn.Embedding(arch.classes, arch.shared_dim)) if arch.shared_embedding else None
        width = arch.shared_dim + (z if arch.skip_z else 0)
        conditioning = Conditioning(make, width if arch.shared_embedding else None)
        self.linear = make(nn.Linear(width if arch.skip_z else z, stages[0][0] * arch.base**2))
        blocks: list[nn.Module] = []
        for inputs, outputs in stages:
            blocks += [UpBlock(inputs, inputs, False, conditioning) for _ in range(arch.blocks - 1)]
            blocks.append(UpBlock(inputs, outputs, True, conditioning))
        self.blocks = nn.ModuleList(blocks)
        self.attention = nn.ModuleList(
            make.attention(outputs, arch.base << i) for i, (_, outputs) in enumerate(stages, 1)
        )
        self.to_pixels = ToPixels(stages[-1][1], arch.channels, make)

    @property
    def unpenalised(self) -> tuple[str, ...]:
        """Matrices that orthogonal regularisation leaves out: the shared embedding (section 3.1)."""
        return () if self.shared is None else ("shared.weight",)

    def forward(self, z_BZ: Tensor, labels_B: Tensor) -> Tensor:
        condition = labels_B if self.shared is None else self.shared(labels_B)
        first = z_BZ
        if self.skip_z:
            first = condition = torch.cat([condition, z_BZ], dim=1)
        x: Tensor = self.linear(first).unflatten(1, (-1, self.base, self.base))
        for number, block in enumerate(self.blocks, 1):
            x = block(x, condition)
            if number % self.per_stage == 0:
                x = self.attention[number // self.per_stage - 1](x)
        pixels: Tensor = self.to_pixels(x)
        return pixels


class DownBlock(nn.Module):
    """x_BCRR → [B, outputs, R/2, R/2], or of the same resolution if it doesn't halve."""

    def __init__(self, inputs: int, outputs: int, halves: bool, make: Layers) -> None:
        super().__init__()
        hidden = outputs // BOTTLENECK
        self.halves = halves
        self.conv1 = make(nn.Conv2d(inputs, hidden, 1))
        self.conv2 = make(Conv3(hidden, hidden))
        self.conv3 = make(Conv3(hidden, hidden))
        self.conv4 = make(nn.Conv2d(hidden, outputs, 1))
        self.missing = make(nn.Conv2d(inputs, outputs - inputs, 1)) if outputs > inputs else None

    def forward(self, x_BCRR: Tensor) -> Tensor:
        h = self.conv1(relu_for_conv(x_BCRR))
        for conv in (self.conv2, self.conv3):
            h = conv(relu_for_conv(h, inplace=True))
        h = relu_for_conv(h, inplace=True)
        changed: Tensor = self.conv4(avg_pool2d(h, 2) if self.halves else h)
        x = avg_pool2d(x_BCRR, 2) if self.halves else x_BCRR
        return changed.add_(x if self.missing is None else torch.cat([x, self.missing(x)], dim=1))


class Discriminator(nn.Module):
    """images_BCRR, labels_B → logits_B."""

    def __init__(self, arch: BigganDeepArch) -> None:
        super().__init__()
        make = Layers(arch)
        inputs, size = arch.d_base, arch.resolution
        layers: list[nn.Module] = [make(Conv3(arch.channels, inputs))]
        for outputs, halves in arch.d_stages:
            layers.append(DownBlock(inputs, outputs, halves, make))
            layers += [DownBlock(outputs, outputs, False, make) for _ in range(arch.blocks - 1)]
            inputs, size = outputs, size // 2 if halves else size
            if halves:
                layers.append(make.attention(outputs, size))
        self.blocks = nn.Sequential(*layers)
        self.judgement = Judgement(inputs, arch.classes, make)

    def forward(self, x_BCRR: Tensor, labels_B: Tensor) -> Tensor:
        logits: Tensor = self.judgement(self.blocks(x_BCRR), labels_B)
        return logits


class BigganDeep(BigganFamily[BigganDeepArch]):
    """BigGAN-deep."""

    generator = Generator
    discriminator = Discriminator


FAMILY = BigganDeep()
