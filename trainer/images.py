"""Pictures made of images: the one place that lays a batch out as a grid, and takes one apart. Imports no torch.

Shape legend: N images, H height, W width, C channels.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import Field, ValidationError

from trainer.schema import MOST_IMAGES, MOST_STEPS, Frozen

PAD = 2
"""Pixels between two cells and around the grid."""
BACKGROUND = 255
CELL = 64
"""Small images are enlarged to at most this many pixels, so that a person sees them at a screen's size."""
KEY = "agon.grid"
"""Keyword of the text chunk (tEXt, before the pixels) in which a sample grid's PNG says what it shows, as JSON."""
MOST_PIXELS = 1 << 25
"""Of a grid that is taken apart: 100 MB of RGB. 1024 images of 128 × 128 are half of that."""
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises for a file that is no PNG, or a damaged one."""


class GridFacts(Frozen):
    """What a sample grid shows: `count` images of `height` × `width` pixels in rows of `columns`, each enlarged by a whole factor."""

    step: int = Field(ge=0, le=MOST_STEPS)
    images: int = Field(ge=0, le=MOST_IMAGES)
    """Real images shown when it was drawn."""
    count: int = Field(ge=1, le=1 << 20)
    columns: int = Field(ge=1, le=1 << 20)
    height: int = Field(ge=1, le=1 << 20)
    width: int = Field(ge=1, le=1 << 20)
    enlarged: int = Field(ge=1, le=CELL)

    @classmethod
    def of(cls, batch: NDArray[np.uint8], columns: int, step: int, images: int) -> GridFacts:
        """Of what `grid(batch, columns)` lays out."""
        count, height, width = batch.shape[:3]
        factor = _factor(height, width)
        return cls(
            step=step,
            images=images,
            count=count,
            columns=min(columns, count),
            height=height,
            width=width,
            enlarged=factor,
        )

    @property
    def rows(self) -> int:
        """Rows of the grid; the last may have cells left over."""
        return -(-self.count // self.columns)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole picture, in pixels."""
        across, down = self.width * self.enlarged + PAD, self.height * self.enlarged + PAD
        return self.columns * across + PAD, self.rows * down + PAD

    def box(self, number: int) -> tuple[int, int, int, int]:
        """Left, upper, right and lower edge of the image of that number, counted from 0, row by row."""
        width, height = self.width * self.enlarged, self.height * self.enlarged
        row, column = divmod(number, self.columns)
        left, top = PAD + column * (width + PAD), PAD + row * (height + PAD)
        return left, top, left + width, top + height


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
    images = enlarged(images)
    count, height, width, channels = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    cells = np.full((rows * columns, height + PAD, width + PAD, channels), background, np.uint8)
    cells[:count, PAD:, PAD:] = images
    laid = cells.reshape(rows, columns, height + PAD, width + PAD, channels).swapaxes(1, 2)
    body = laid.reshape(rows * (height + PAD), columns * (width + PAD), channels)
    return np.pad(body, ((0, PAD), (0, PAD), (0, 0)), constant_values=background)


def enlarged(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """images_NHWC, small ones by the largest whole factor that keeps them within `CELL`, pixel by pixel."""
    factor = _factor(*images.shape[1:3])
    return images if factor == 1 else images.repeat(factor, axis=1).repeat(factor, axis=2)


def _factor(height: int, width: int) -> int:
    return max(1, CELL // max(height, width))


def save_png(path: Path, image: NDArray[np.uint8], facts: GridFacts | None = None) -> None:
    """Write image_HWC (or HW) as PNG, with what it shows if it is a sample grid; a reader sees the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    told = PngInfo()
    if facts is not None:
        told.add_text(KEY, facts.model_dump_json())
    picture = Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image)
    picture.save(aside, format="PNG", pnginfo=told)
    aside.replace(path)


def grid_facts(file: BinaryIO) -> GridFacts | None:
    """What the sample grid in this PNG file shows, read from its head; None if it doesn't say, or says what can't be."""
    try:
        with Image.open(file, formats=("PNG",)) as picture:
            facts = GridFacts.model_validate_json(picture.info[KEY])
            return facts if picture.size == facts.size else None
    except (*UNREADABLE, KeyError, ValidationError):
        return None


def tiles(file: BinaryIO, facts: GridFacts, numbers: Sequence[int]) -> NDArray[np.uint8]:
    """The images of these numbers (from 0, row by row) of a sample grid, pixel for pixel as G drew them: uint8 NHWC.

    Raises ValueError for a number that the grid doesn't have, a picture of more than MOST_PIXELS, and a damaged file.
    """
    if not all(0 <= number < facts.count for number in numbers):
        raise ValueError(f"the grid has images 0 to {facts.count - 1}")
    if facts.size[0] * facts.size[1] > MOST_PIXELS:
        raise ValueError(f"the grid has {facts.size[0]} × {facts.size[1]} pixels, too many to be taken apart here")
    file.seek(0)
    try:
        with Image.open(file, formats=("PNG",)) as picture:
            pixels = np.asarray(picture.convert("L" if picture.mode == "L" else "RGB"))
    except UNREADABLE as error:
        raise ValueError(f"the grid's file is damaged: {error}") from error
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    boxes = [facts.box(number) for number in numbers]
    step = facts.enlarged
    return np.stack([pixels[top:bottom:step, left:right:step] for left, top, right, bottom in boxes])


def cut(file: BinaryIO, facts: GridFacts, number: int) -> bytes:
    """The image of that number (from 0, row by row) of a sample grid, pixel for pixel as G drew it, as PNG. Raises as `tiles`."""
    (tile,) = tiles(file, facts, [number])
    found = io.BytesIO()
    Image.fromarray(tile[..., 0] if tile.shape[-1] == 1 else tile).save(found, format="PNG")
    return found.getvalue()
