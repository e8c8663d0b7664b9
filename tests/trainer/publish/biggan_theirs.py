"""What the authors' BigGAN-PyTorch code writes and computes: random state dicts in its layout, and its nets as plain functions."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, batch_norm, conv2d, interpolate, linear, max_pool2d, normalize, relu

CH, CLASSES, SHARED, CHUNK, STAGES = 8, 5, 6, 3, 3
Weights = dict[str, Tensor]


class Layout:
    """A random state dict of one of their generators at 32 px, name by name."""

    def __init__(self) -> None:
        self.found: Weights = {}
        self.source = torch.Generator().manual_seed(0)

    def draw(self, name: str, *shape: int, scale: float = 1.0) -> None:
        self.found[name] = scale * torch.randn(shape, generator=self.source)

    def normalised(self, name: str, *shape: int, bias: bool = True) -> None:
        self.draw(f"{name}.weight", *shape)
        if bias:
            self.draw(f"{name}.bias", shape[0], scale=0.1)
        self.draw(f"{name}.u0", 1, shape[0])
        self.found[f"{name}.sv0"] = torch.ones(1)

    def statistics(self, name: str, channels: int) -> None:
        self.draw(f"{name}.stored_mean", channels, scale=0.1)
        self.found[f"{name}.stored_var"] = torch.rand(channels, generator=self.source) + 0.5

    def norm(self, name: str, channels: int, condition: int) -> None:
        for part in ("gain", "bias"):
            self.normalised(f"{name}.{part}", channels, condition, bias=False)
        self.statistics(name, channels)

    def attention(self, name: str, channels: int) -> None:
        for part, shape in (("theta", (1, 8)), ("phi", (1, 8)), ("g", (4, 8)), ("o", (8, 4))):
            self.normalised(f"{name}.{part}", shape[0] * channels // 8, shape[1] * channels // 8, 1, 1, bias=False)
        self.found[f"{name}.gamma"] = torch.tensor(0.6)

    def output(self, channels: int) -> None:
        self.draw("output_layer.0.gain", channels)
        self.draw("output_layer.0.bias", channels, scale=0.1)
        self.statistics("output_layer.0", channels)
        self.normalised("output_layer.2", 3, channels, 3, 3)


def biggan(attended: tuple[int, ...] = (1,)) -> Weights:
    made, width = Layout(), 4 * CH
    made.draw("shared.weight", CLASSES, SHARED)
    made.normalised("linear", width * 16, CHUNK)
    for i in range(STAGES):
        made.normalised(f"blocks.{i}.0.conv1", width, width, 3, 3)
        made.normalised(f"blocks.{i}.0.conv2", width, width, 3, 3)
        made.normalised(f"blocks.{i}.0.conv_sc", width, width, 1, 1)
        made.norm(f"blocks.{i}.0.bn1", width, SHARED + CHUNK)
        made.norm(f"blocks.{i}.0.bn2", width, SHARED + CHUNK)
    for i in attended:
        made.attention(f"blocks.{i}.1", width)
    made.output(width)
    return made.found


def biggan_deep(depth: int = 2) -> Weights:
    made, width = Layout(), 4 * CH
    made.draw("shared.weight", CLASSES, SHARED)
    made.normalised("linear", width * 16, SHARED + CHUNK)
    for i in range(depth * STAGES):
        for part, shape in (("conv1", (1, 4, 1)), ("conv2", (1, 1, 3)), ("conv3", (1, 1, 3)), ("conv4", (4, 1, 1))):
            made.normalised(f"blocks.{i}.0.{part}", shape[0] * CH, shape[1] * CH, shape[2], shape[2])
        for number, channels in ((1, width), (2, CH), (3, CH), (4, CH)):
            made.norm(f"blocks.{i}.0.bn{number}", channels, SHARED + CHUNK)
    made.attention(f"blocks.{2 * depth - 1}.1", width)
    made.output(width)
    return made.found


def weight(w: Weights, name: str) -> Tensor:
    """Their W_ in evaluation: one iteration from u0, which is not kept."""
    if f"{name}.u0" not in w:
        return w[f"{name}.weight"]
    matrix = w[f"{name}.weight"].flatten(1)
    v = normalize(w[f"{name}.u0"] @ matrix)
    u = normalize(v @ matrix.T)
    return w[f"{name}.weight"] / (v @ matrix.T @ u.T).squeeze()


def conv(w: Weights, name: str, x: Tensor) -> Tensor:
    kernel = weight(w, name)
    return conv2d(x, kernel, w.get(f"{name}.bias"), padding=kernel.shape[2] // 2)


def norm(w: Weights, name: str, x: Tensor, y: Tensor, eps: float) -> Tensor:
    gain, bias = (linear(y, weight(w, f"{name}.{part}"))[:, :, None, None] for part in ("gain", "bias"))
    return relu(batch_norm(x, w[f"{name}.stored_mean"], w[f"{name}.stored_var"], eps=eps) * (1 + gain) + bias)


def attend(w: Weights, name: str, x: Tensor) -> Tensor:
    theta, phi, g = (conv(w, f"{name}.{part}", x) for part in ("theta", "phi", "g"))
    phi, g = max_pool2d(phi, 2).flatten(2), max_pool2d(g, 2).flatten(2)
    beta = torch.softmax(theta.flatten(2).mT @ phi, dim=-1)
    mixed = (g @ beta.mT).reshape(len(x), -1, *x.shape[2:])
    return w[f"{name}.gamma"] * conv(w, f"{name}.o", mixed) + x


def draw(w: Weights, z: Tensor, labels: Tensor, depth: int = 0, eps: float = 1e-5) -> Tensor:
    """What their code draws; depth: of BigGAN-deep, 0 for BigGAN. eps: their BN_eps, which their last norm doesn't take."""
    y = w["shared.weight"][labels]
    first, *parts = (torch.cat([y, z], dim=1),) if depth else z.split(CHUNK, dim=1)
    x = linear(first, weight(w, "linear"), w["linear.bias"]).reshape(len(z), -1, 4, 4)
    for i in range((depth or 1) * STAGES):
        block = f"blocks.{i}.0"
        if depth:
            h = norm(w, f"{block}.bn2", conv(w, f"{block}.conv1", norm(w, f"{block}.bn1", x, first, eps)), first, eps)
            h, x = (interpolate(t, scale_factor=2) if i % depth == depth - 1 else t for t in (h, x))
            h = conv(w, f"{block}.conv3", norm(w, f"{block}.bn3", conv(w, f"{block}.conv2", h), first, eps))
            x = x + conv(w, f"{block}.conv4", norm(w, f"{block}.bn4", h, first, eps))
        else:
            condition = torch.cat([y, parts[i]], dim=1)
            h = conv(w, f"{block}.conv1", interpolate(norm(w, f"{block}.bn1", x, condition, eps), scale_factor=2))
            h = conv(w, f"{block}.conv2", norm(w, f"{block}.bn2", h, condition, eps))
            x = h + conv(w, f"{block}.conv_sc", interpolate(x, scale_factor=2))
        if f"blocks.{i}.1.gamma" in w:
            x = attend(w, f"blocks.{i}.1", x)
    out = "output_layer.0"
    x = batch_norm(x, w[f"{out}.stored_mean"], w[f"{out}.stored_var"], w[f"{out}.gain"], w[f"{out}.bias"])
    return torch.tanh(conv(w, "output_layer.2", relu(x)))


def inputs(deep: bool) -> tuple[Tensor, Tensor]:
    dim = CHUNK if deep else CHUNK * (STAGES + 1)
    return torch.randn(4, dim, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 4, 2, 2])


def saved(weights: object, folder: Path) -> Path:
    torch.save(weights, folder / "G_ema.pth")
    return folder / "G_ema.pth"


TABLES = {
    (False, 32): ((4, 4, 4, 4), 2), (False, 128): ((1, 2, 4, 8, 16, 16), 5), (False, 256): ((1, 2, 4, 8, 8, 16, 16), 6),
    (False, 512): ((1, 1, 2, 4, 8, 8, 16, 16), 7), (False, 64): ((1, 2, 4, 8, 16), 4),
    (True, 32): ((4, 4, 4), 2), (True, 128): ((2, 4, 8, 16, 16), 5), (True, 256): ((2, 4, 8, 8, 16, 16), 6),
    (True, 64): ((2, 4, 8, 16), 4),
}  # fmt: skip
"""(BigGAN-deep?, resolution) → channels of the stages of their D as multiples of its width, and how many of them halve."""


def discriminator(
    resolution: int = 32, depth: int = 0, attended: tuple[int, ...] = (), made: Layout | None = None
) -> Weights:
    """A state dict of one of their Ds; depth: of BigGAN-deep, 0 for BigGAN. attended: stages that have attention."""
    made = made or Layout()
    widths, halvings = TABLES[depth > 0, resolution]
    inputs = 3
    if depth:
        inputs = CH * (4 if resolution == 32 else 1)
        made.normalised("input_conv", inputs, 3, 3, 3)
    for i, width in enumerate(widths):
        for j in range(depth or 1):
            block, outputs = f"blocks.{i}.{j}", width * CH
            if depth:
                hidden = outputs // 4
                for part, shape in (
                    ("conv1", (hidden, inputs, 1)), ("conv2", (hidden, hidden, 3)), ("conv3", (hidden, hidden, 3)),
                    ("conv4", (outputs, hidden, 1)),
                ):  # fmt: skip
                    made.normalised(f"{block}.{part}", shape[0], shape[1], shape[2], shape[2])
                if outputs > inputs:
                    made.normalised(f"{block}.conv_sc", outputs - inputs, inputs, 1, 1)
            else:
                made.normalised(f"{block}.conv1", outputs, inputs, 3, 3)
                made.normalised(f"{block}.conv2", outputs, outputs, 3, 3)
                if i < halvings or inputs != outputs:
                    made.normalised(f"{block}.conv_sc", outputs, inputs, 1, 1)
            inputs = outputs
        if i in attended:
            made.attention(f"blocks.{i}.{depth or 1}", inputs)
    made.normalised("linear", 1, inputs)
    made.normalised("embed", CLASSES, inputs, bias=False)
    return made.found


def judge(w: Weights, images: Tensor, labels: Tensor, depth: int = 0) -> Tensor:
    """The logits [n] that their D gives; depth: of BigGAN-deep, 0 for BigGAN."""
    x = conv(w, "input_conv", images) if depth else images
    _, halvings = TABLES[depth > 0, images.shape[2]]
    i = 0
    while f"blocks.{i}.0.conv1.weight" in w:
        for j in range(depth or 1):
            pooled = i < halvings and j == 0
            x = (deep_block if depth else wide_block)(w, f"blocks.{i}.{j}", x, pooled, first=i == 0)
        if f"blocks.{i}.{depth or 1}.gamma" in w:
            x = attend(w, f"blocks.{i}.{depth or 1}", x)
        i += 1
    features = relu(x).sum(dim=(2, 3))
    projected = (weight(w, "embed")[labels] * features).sum(dim=1)
    return linear(features, weight(w, "linear"), w["linear.bias"])[:, 0] + projected


def wide_block(w: Weights, name: str, x: Tensor, pooled: bool, first: bool) -> Tensor:
    """Figure 15c: pre-activated, but for the first, whose input are images."""
    h = conv(w, f"{name}.conv2", relu(conv(w, f"{name}.conv1", x if first else relu(x))))
    shortcut = conv(w, f"{name}.conv_sc", x) if f"{name}.conv_sc.weight" in w else x
    return avg_pool2d(h, 2) + avg_pool2d(shortcut, 2) if pooled else h + shortcut


def deep_block(w: Weights, name: str, x: Tensor, pooled: bool, first: bool) -> Tensor:
    """Figure 16c: a bottleneck; channels that the shortcut lacks are made by a convolution and put behind it."""
    h = x
    for part in ("conv1", "conv2", "conv3"):
        h = conv(w, f"{name}.{part}", relu(h))
    h = relu(h)
    h, x = (avg_pool2d(h, 2), avg_pool2d(x, 2)) if pooled else (h, x)
    shortcut = torch.cat([x, conv(w, f"{name}.conv_sc", x)], dim=1) if f"{name}.conv_sc.weight" in w else x
    return conv(w, f"{name}.conv4", h) + shortcut
