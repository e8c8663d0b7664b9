"""Strided convolutions that halve or double the resolution exactly."""

from __future__ import annotations

from torch import nn


def halve(inputs: int, outputs: int, kernel: int, *, bias: bool = False) -> nn.Conv2d:
    """Stride-2 convolution: [B, inputs, 2H, 2W] → [B, outputs, H, W]. `kernel` is 4 or 5."""
    return nn.Conv2d(inputs, outputs, kernel, stride=2, padding=(kernel - 1) // 2, bias=bias)


def double(inputs: int, outputs: int, kernel: int, *, bias: bool = False) -> nn.ConvTranspose2d:
    """Fractionally-strided convolution: [B, inputs, H, W] → [B, outputs, 2H, 2W]. `kernel` is 4 or 5."""
    return nn.ConvTranspose2d(
        inputs, outputs, kernel, stride=2, padding=(kernel - 1) // 2, output_padding=kernel % 2, bias=bias
    )


def doublings(resolution: int) -> tuple[int, int]:
    """(base, n) with base · 2ⁿ = resolution and base 4, or 7 for 28 px. Raises ValueError if there is none."""
    base = 7 if resolution % 7 == 0 else 4
    n = (resolution // base).bit_length() - 1
    if base << n != resolution or n < 1:
        raise ValueError(f"{resolution} px is neither 4 nor 7 times a power of two")
    return base, n
