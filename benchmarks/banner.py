"""The README's picture: all samples of `biggan-mnist`'s committed picture, laid out wide, a colour for each class.

`python -m benchmarks.banner` draws docs/images/samples.webp from docs/images/reproduce/biggan-mnist.png. None is picked
or left out, no shape is touched: pixels are enlarged smoothly, and black and white become ground and ink.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.images import PAD

IMAGES = Path(__file__).parent.parent / "docs" / "images"
SOURCE, TARGET = IMAGES / "reproduce" / "biggan-mnist.png", IMAGES / "samples.webp"
CLASSES, EACH, COLUMNS = 10, 10, 20
"""Rows and columns of the source, which has a class in each row, and columns of the banner."""
SIDE, ENLARGED, SHOWN, MARGIN = 28, 2, 84, 24
"""Pixels: a sample's side, its factor in the source, its side in the banner; the banner's border."""
GROUND = np.array((13, 17, 28), np.float32)
INKS = (0.36, 0.96)
"""Part of the colour map from the first class to the last."""


def samples(source: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey grid [H, W] → its samples [100, 28, 28], class by class. Raises ValueError for a picture that is no such grid."""
    cell = SIDE * ENLARGED + PAD
    if source.shape != (CLASSES * cell + PAD, EACH * cell + PAD):
        raise ValueError(f"no grid of {CLASSES} × {EACH} samples of {SIDE} px: {source.shape}")
    cells = source[PAD:, PAD:].reshape(CLASSES, cell, EACH, cell).swapaxes(1, 2)
    inner = cells[:, :, : cell - PAD : ENLARGED, : cell - PAD : ENLARGED]
    return inner.reshape(-1, SIDE, SIDE)


def banner(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Samples [100, 28, 28] → RGB [H, W, 3], two classes a row."""
    ink = np.stack(
        [np.asarray(Image.fromarray(image).resize((SHOWN, SHOWN), Image.Resampling.LANCZOS)) for image in images]
    )
    share = (ink.astype(np.float32) / 255)[..., None]
    colours = mpl.colormaps["plasma"](np.linspace(*INKS, CLASSES))[:, :3].astype(np.float32) * 255
    drawn = GROUND + share * (np.repeat(colours, EACH, axis=0)[:, None, None] - GROUND)
    laid = drawn.reshape(-1, COLUMNS, SHOWN, SHOWN, 3).swapaxes(1, 2).reshape(-1, COLUMNS * SHOWN, 3)
    framed = np.tile(GROUND, (laid.shape[0] + 2 * MARGIN, laid.shape[1] + 2 * MARGIN, 1))
    framed[MARGIN:-MARGIN, MARGIN:-MARGIN] = laid
    return framed.round().astype(np.uint8)


def main() -> None:
    """Draw it."""
    Image.fromarray(banner(samples(np.asarray(Image.open(SOURCE))))).save(TARGET, quality=88, method=6)


if __name__ == "__main__":
    main()
