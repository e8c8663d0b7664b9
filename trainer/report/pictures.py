"""Images as data URIs: strips whose gaps are transparent, so that they suit a light and a dark page.

Shape legend: N images, H height, W width, C channels.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.images import grid

LOSSLESS_SIDE = 64
"""Larger images are compressed as WebP, or a page would weigh tens of megabytes."""


@dataclass(frozen=True)
class Picture:
    """An image for the page. width, height: pixels. columns: cells in a row."""

    uri: str
    alt: str
    width: int
    height: int
    columns: int

    @property
    def shown(self) -> int:
        """Its width on a wide page: single images may be larger than cells of a long row."""
        return round(self.width * (1.25 if self.columns <= 12 else 1.0))


def sheet(images: NDArray[np.uint8], columns: int, alt: str, cells: int | None = None) -> Picture:
    """images_NHWC (uint8, 1 or 3 channels) in rows of `columns`, small ones enlarged.

    cells: room for that many, of which the last stay empty, so that pictures of fewer images line up with others.
    """
    covered = np.full_like(images[..., :1], 255)
    if cells is not None and cells > len(images):
        empty = [(0, cells - len(images)), (0, 0), (0, 0), (0, 0)]
        images, covered = np.pad(images, empty), np.pad(covered, empty)
    pixels = grid(images, columns)
    opaque = grid(covered, columns, background=0)
    laid = np.concatenate([pixels, opaque], axis=-1)
    file = io.BytesIO()
    kind = "png" if images.shape[1] <= LOSSLESS_SIDE else "webp"
    image = Image.fromarray(laid)  # grey + alpha, or RGB + alpha
    if kind == "png":
        image.save(file, format="PNG", optimize=True)
    else:
        image.convert("RGBA").save(file, format="WEBP", quality=88)
    uri = f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
    return Picture(uri, alt, width=laid.shape[1], height=laid.shape[0], columns=min(columns, len(images)))


def strip(images: NDArray[np.uint8], alt: str, cells: int | None = None) -> Picture:
    """All images in one row, with room for `cells`."""
    return sheet(images, max(len(images), cells or 0), alt, cells)
