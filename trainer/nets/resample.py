"""Resampling by two: bilinear, and fused with the 3 × 3 convolution beside it.

Shape legend: B batch, C channels, I input channels, O output channels, H height, W width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, conv_transpose2d, fold, interpolate, pad


def up2(x_BCHW: Tensor) -> Tensor:
    """[B, C, H, W] → [B, C, 2H, 2W]: each pixel is ¾ of the nearest and ¼ of the next, along each axis."""
    return interpolate(x_BCHW, scale_factor=2.0, mode="bilinear", align_corners=False)


class Down2(nn.Module):
    """[B, C, 2H, 2W] → [B, C, H, W] through the low-pass filter (1, 3, 3, 1) / 8 along each axis, zeros outside.

    Away from the edges it is the transpose of `up2`, divided by 4. A convolution, because torch's antialiased
    interpolation knows no bfloat16 on the CPU.
    """

    filter: Tensor

    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor((1.0, 3.0, 3.0, 1.0)) / 8.0
        self.register_buffer("filter", torch.outer(taps, taps)[None, None], persistent=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        channels = x_BCHW.shape[1]
        return conv2d(x_BCHW, self.filter.expand(channels, 1, 4, 4), stride=2, padding=1, groups=channels)


def nearest2(x_BCHW: Tensor) -> Tensor:
    """[B, C, H, W] → [B, C, 2H, 2W]: each pixel four times."""
    return interpolate(x_BCHW, scale_factor=2.0, mode="nearest")


def add_nearest2(x_BCHW: Tensor, half: Tensor) -> Tensor:
    """x + nearest2(half), half [B, C, H/2, W/2]; x itself is changed. Where no gradient is wanted, the doubled map is never
    written."""
    if torch.is_grad_enabled():
        return x_BCHW.add_(nearest2(half))
    batch, channels, height, width = half.shape
    x_BCHW.view(batch, channels, height, 2, width, 2).add_(half[:, :, :, None, :, None])
    return x_BCHW


def shifted_sum(weight_OI33: Tensor) -> Tensor:
    """[O, I, 3, 3] → [O, I, 4, 4]: the sum of the kernel's four shifts by one pixel, w * [[1, 1], [1, 1]]."""
    rows = pad(weight_OI33, (0, 0, 0, 1)) + pad(weight_OI33, (0, 0, 1, 0))  # [O, I, 4, 3]
    return pad(rows, (0, 1)) + pad(rows, (1, 0))


BOX_CHANNELS = 24
"""From so many channels on, fewer products are worth one more pass over the map on a CPU, where the map is channels last
(torch pools contiguous maps too slowly). At 16 it was slower. Products of a GPU are cheaper yet."""


def box_pays(input: Tensor, weight_OI33: Tensor) -> bool:
    """Whether the 4 × 4 kernel of a resampling convolution is to be taken apart into a box and the 3 × 3 one."""
    if input.device.type != "cpu" or min(weight_OI33.shape[:2]) < BOX_CHANNELS:
        return False
    return input.is_contiguous(memory_format=torch.channels_last)


def box(x_BCHW: Tensor, *, grows: bool, divisor: int) -> Tensor:
    """The sums of 2 × 2 neighbours over `divisor`: [B, C, H, W] → [B, C, H + 1, W + 1] with zeros outside if it grows, else
    [B, C, H − 1, W − 1]."""
    boxed: Tensor = _Box.apply(x_BCHW, grows, divisor)  # type: ignore[no-untyped-call]
    return boxed


class _Box(torch.autograd.Function):
    """A box that grows and one that shrinks are each other's transpose, which needs no map; torch's own gradient of pooling
    keeps it."""

    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor, grows: bool, divisor: int) -> Tensor:
        ctx.grows, ctx.divisor = grows, divisor
        return avg_pool2d(x_BCHW, 2, stride=1, padding=int(grows), divisor_override=divisor)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        return box(dy, grows=not ctx.grows, divisor=ctx.divisor), None, None


TAPS_OUTPUTS, TAPS_INPUTS = 4, 96
"""Up to so many outputs and from so many inputs on, the taps of a 3 × 3 convolution are products apart on a CPU: its vectors
run over outputs, and a picture's three leave them all but empty. With 64 inputs there was nothing in it."""


def taps_pay(input: Tensor, weight_OI33: Tensor) -> bool:
    """Whether a 3 × 3 convolution of input [B, I, H, W] is to be taken apart into nine products and the sum of their shifts.
    Not in half precision, where the products would be rounded before they are added up."""
    outputs, inputs = weight_OI33.shape[:2]
    if input.device.type != "cpu" or torch.is_autocast_enabled("cpu") or input.dtype != torch.float32:
        return False
    if outputs > TAPS_OUTPUTS or inputs < TAPS_INPUTS:
        return False
    return input.is_contiguous(memory_format=torch.channels_last)


def _by_taps(input: Tensor, weight_OI33: Tensor, bias: Tensor | None) -> Tensor:
    outputs, inputs = weight_OI33.shape[:2]
    taps = weight_OI33.flip(2, 3).permute(0, 2, 3, 1).reshape(outputs * 9, inputs, 1, 1)
    products = conv2d(input, taps).flatten(2).contiguous()  # [B, 9 O, H · W]
    summed = fold(products, input.shape[2:], 3, padding=1)
    return summed if bias is None else summed.add_(bias[:, None, None])


class Conv3(nn.Conv2d):
    """3 × 3 convolution that keeps the size, zeros outside: [B, I, H, W] → [B, O, H, W]."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if taps_pay(input, weight):
            return _by_taps(input, weight, bias)
        output: Tensor = super()._conv_forward(input, weight, bias)
        return output


class UpConv3(Conv3):
    """`conv3(nearest2(x))` as one strided 4 × 4 transposed convolution: [B, I, H, W] → [B, O, 2H, 2W].

    The parameters are the 3 × 3 convolution's. Exact, edges included: of a doubled map two neighbouring taps meet the
    same pixel, so that their weights add up. 16 multiplications for 4 output pixels instead of 36; where `box_pays`, the
    4 × 4 kernel is taken apart into a 3 × 3 one and a sum over 2 × 2 pixels, which leaves 9.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # The bias is added by itself: with one, oneDNN's transposed convolution takes another, far slower way.
        if box_pays(input, weight):
            kernel = weight.flip(2, 3).transpose(0, 1)
            wider = conv_transpose2d(input, kernel, stride=2)  # [B, O, 2H + 1, 2W + 1]
            output = box(wider, grows=False, divisor=1)
        else:
            kernel = shifted_sum(weight.flip(2, 3)).transpose(0, 1)
            output = conv_transpose2d(input, kernel, stride=2, padding=1)
        return output if bias is None else output.add_(bias[:, None, None])


class ConvPool3(Conv3):
    """`avg_pool2d(conv3(x), 2)` as one strided 4 × 4 convolution: [B, I, 2H, 2W] → [B, O, H, W].

    The parameters are the 3 × 3 convolution's. Exact, edges included. 16 multiplications for an output pixel instead of 36;
    9 where `box_pays`: the means of 2 × 2 neighbours, then the 3 × 3 convolution at every second pixel.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if box_pays(input, weight):
            return conv2d(box(input, grows=True, divisor=4), weight, bias, stride=2)
        return conv2d(input, 0.25 * shifted_sum(weight), bias, stride=2, padding=1)
