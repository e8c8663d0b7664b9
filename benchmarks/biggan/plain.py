"""BigGAN's nets as the public PyTorch code computes them: resampling and convolution apart, the shortcut's 1 × 1 convolution
after upsampling and before pooling, attention with its whole matrix, a power iteration in every training pass.

Written for the comparison, and as the reference of the fused nets: parameters and buffers have the names that ours have,
so `load_state_dict(ours.state_dict(), strict=False)` gives the same function.

Shape legend: B batch, C channels, R resolution, Z latent dimensions, N pixels, M = N / 4.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.families.biggan.arch import BigganArch


class Normalised(nn.Module):
    """A layer by W / σ, with one power iteration in each training pass."""

    def __init__(self, *shape: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(*shape))
        self.bias = nn.Parameter(torch.zeros(shape[0])) if bias else None
        nn.init.normal_(self.weight, 0.0, 0.02)
        self.register_buffer("u", F.normalize(torch.randn(shape[0]), dim=0))

    def normalised(self) -> Tensor:
        matrix = self.weight.view(len(self.weight), -1)
        with torch.no_grad():
            v = F.normalize(self.u @ matrix, dim=0)
            u = F.normalize(matrix @ v, dim=0)
            if self.training:
                self.u.copy_(u)
        return self.weight / torch.dot(u, matrix @ v)


class Conv(Normalised):
    def __init__(self, inputs: int, outputs: int, kernel: int = 3, bias: bool = True) -> None:
        super().__init__(outputs, inputs, kernel, kernel, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.normalised(), self.bias, padding=self.weight.shape[2] // 2)


class Linear(Normalised):
    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(outputs, inputs, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.normalised(), self.bias)


class Embedding(Normalised):
    def __init__(self, classes: int, features: int) -> None:
        super().__init__(classes, features, bias=False)

    def forward(self, labels: Tensor) -> Tensor:
        return F.embedding(labels, self.normalised())


class ConditionalNorm(nn.Module):
    """Batch norm, then a gain and a bias from the condition; the ReLU is the block's."""

    def __init__(self, channels: int, condition: int | None, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        for name in ("gain", "bias"):
            if condition is None:
                layer: nn.Module = nn.Embedding(classes, channels)
                nn.init.normal_(layer.weight, 0.0, 0.02)
            else:
                layer = Linear(condition, channels, bias=False)
            setattr(self, name, layer)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gain = (1 + self.gain(condition)).view(len(x), -1, 1, 1)
        return self.norm(x) * gain + self.bias(condition).view(len(x), -1, 1, 1)


class Attention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.theta, self.phi = (Conv(channels, channels // 8, 1, bias=False) for _ in range(2))
        self.g, self.out = Conv(channels, channels // 2, 1, bias=False), Conv(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        theta = self.theta(x).view(batch, channels // 8, height * width)
        phi = F.max_pool2d(self.phi(x), 2).view(batch, channels // 8, height * width // 4)
        g = F.max_pool2d(self.g(x), 2).view(batch, channels // 2, height * width // 4)
        beta_BNM = F.softmax(torch.bmm(theta.transpose(1, 2), phi), -1)
        mixed = torch.bmm(g, beta_BNM.transpose(1, 2)).view(batch, channels // 2, height, width)
        return self.gamma * self.out(mixed) + x


class UpBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, condition: int | None, classes: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (ConditionalNorm(channels, condition, classes) for channels in (inputs, outputs))
        self.conv1, self.conv2 = Conv(inputs, outputs), Conv(outputs, outputs)
        self.shortcut = Conv(inputs, outputs, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        hidden = F.interpolate(F.relu(self.norm1(x, condition)), scale_factor=2)
        hidden = F.relu(self.norm2(self.conv1(hidden), condition))
        return self.conv2(hidden) + self.shortcut(F.interpolate(x, scale_factor=2))


class DownBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, halves: bool, first: bool) -> None:
        super().__init__()
        self.halves, self.first = halves, first
        self.conv1, self.conv2 = Conv(inputs, outputs), Conv(outputs, outputs)
        self.shortcut = Conv(inputs, outputs, 1) if halves or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if not self.halves:
            return hidden + self.shortcut(x)
        before = self.shortcut(F.avg_pool2d(x, 2)) if self.first else F.avg_pool2d(self.shortcut(x), 2)
        return F.avg_pool2d(hidden, 2) + before


class ToPixels(nn.Module):
    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs, affine=False)
        self.gain, self.bias = nn.Parameter(torch.ones(inputs)), nn.Parameter(torch.zeros(inputs))
        self.conv = Conv(inputs, channels)

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        scaled = F.batch_norm(
            x, norm.running_mean, norm.running_var, self.gain, self.bias, norm.training, norm.momentum or 0.0, norm.eps
        )
        return torch.tanh(self.conv(F.relu(scaled)))


class Generator(nn.Module):
    """z_BZ, labels_B → images_BCRR in (−1, 1)."""

    def __init__(self, arch: BigganArch) -> None:
        super().__init__()
        stages = arch.g_stages
        self.base, self.parts = arch.base, len(stages) + 1 if arch.skip_z else 0
        self.shared = nn.Embedding(arch.classes, arch.shared_dim) if arch.shared_embedding else None
        condition = arch.shared_dim + (arch.chunk if arch.skip_z else 0) if arch.shared_embedding else None
        self.linear = Linear(arch.chunk, stages[0][0] * arch.base**2)
        self.blocks = nn.ModuleList(UpBlock(a, b, condition, arch.classes) for a, b in stages)
        self.attention = nn.ModuleList(
            Attention(outputs) if arch.base << number in arch.attended else nn.Identity()
            for number, (_, outputs) in enumerate(stages, 1)
        )
        self.to_pixels = ToPixels(stages[-1][1], arch.channels)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        condition = labels if self.shared is None else self.shared(labels)
        conditions = [condition] * len(self.blocks)
        if self.parts:
            z, *others = torch.split(z, z.shape[1] // self.parts, 1)
            conditions = [torch.cat([condition, other], 1) for other in others]
        x = self.linear(z).view(len(z), -1, self.base, self.base)
        for block, attention, given in zip(self.blocks, self.attention, conditions, strict=True):
            x = attention(block(x, given))
        return self.to_pixels(x)


class Judgement(nn.Module):
    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.linear, self.embed = Linear(features, 1), Embedding(classes, features)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        features = torch.sum(F.relu(x), [2, 3])
        return self.linear(features).squeeze(1) + torch.sum(self.embed(labels) * features, 1)


class Discriminator(nn.Module):
    """images_BCRR, labels_B → logits_B."""

    def __init__(self, arch: BigganArch) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs, size = int(arch.channels), arch.resolution
        for outputs, halves in arch.d_stages:
            layers.append(DownBlock(inputs, outputs, halves, first=not layers))
            inputs, size = outputs, size // 2 if halves else size
            if halves:
                layers.append(Attention(outputs) if size in arch.attended else nn.Identity())
        self.blocks = nn.Sequential(*layers)
        self.judgement = Judgement(inputs, arch.classes)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.judgement(self.blocks(x), labels)
