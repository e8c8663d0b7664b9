"""Pixels: the one place where bytes become the arch's pixel range and come back.

Shape legend: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def from_bytes(images_BCHW: Tensor, pixel_range: tuple[float, float]) -> Tensor:
    """uint8 images as torch's default float type in `pixel_range`: 0 → low, 255 → high, linearly."""
    low, high = pixel_range
    return images_BCHW.to(torch.get_default_dtype()).mul_((high - low) / 255.0).add_(low)


def to_bytes(images_BCHW: Tensor, pixel_range: tuple[float, float]) -> Tensor:
    """Float images in `pixel_range` as uint8: the nearest byte (halves to even), values outside clamped."""
    low, high = pixel_range
    return images_BCHW.float().sub(low).mul_(255.0 / (high - low)).round_().clamp_(0.0, 255.0).byte()


def to_numpy(images_BCHW: Tensor, pixel_range: tuple[float, float]) -> NDArray[np.uint8]:
    """Float images in `pixel_range` as a uint8 array BHWC on the host."""
    array: NDArray[np.uint8] = to_bytes(images_BCHW, pixel_range).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return array
