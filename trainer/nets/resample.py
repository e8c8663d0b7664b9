"""Bilinear resampling by two.

Shape legend: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate


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
