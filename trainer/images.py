"""Pictures made of images: the one place that lays a batch out as a grid.

Shape legend: N images, H height, W width, C channels.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PAD = 2
"""Pixels between two cells and around the grid."""
BACKGROUND = 255
CELL = 64
"""Small images are enlarged to at most this many pixels, so that a person sees them at a screen's size."""


def grid(images: NDArray[np.uint8], columns: int, background: int = BACKGROUND) -> NDArray[np.uint8]:
    """Lay images_NHWC (uint8, C is 1 or 3) out row by row as one HWC image with a border of `PAD` pixels, white by default.

    Images smaller than `CELL` are enlarged by the largest whole factor that keeps them within it, pixel by pixel.
    Cells that are left over in the last row have the border's colour. Raises ValueError for an empty batch, another
    dtype or shape, or `columns` below 1.
    """
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or images.dtype != np.uint8 or not len(images):
        raise ValueError(f"grid needs uint8 images [N>0, H, W, 1 or 3], got {images.dtype} {list(images.shape)}")
    if columns < 1:
        raise ValueError(f"grid needs at least 1 column, got {columns}")
    factor = max(1, CELL // max(images.shape[1:3]))
    images = images.repeat(factor, axis=1).repeat(factor, axis=2)
    count, height, width, channels = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    cells = np.full((rows * columns, height + PAD, width + PAD, channels), background, np.uint8)
    cells[:count, PAD:, PAD:] = images
    laid = cells.reshape(rows, columns, height + PAD, width + PAD, channels).swapaxes(1, 2)
    body = laid.reshape(rows * (height + PAD), columns * (width + PAD), channels)
    return np.pad(body, ((0, PAD), (0, PAD), (0, 0)), constant_values=background)


def save_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write image_HWC (or HW) as PNG; a reader sees the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image).save(aside, format="PNG")
    aside.replace(path)
