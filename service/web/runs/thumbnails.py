"""A run's newest samples in the size of a table's row: the first tiles of its newest grid. Who has drawn none has an empty picture."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from service.runs.samples import Opened
from trainer.images import MOST_PIXELS, UNREADABLE, tiles

SHOWN = 3
"""Tiles, beside each other."""
SIDE = 80
"""Pixels of a tile, at most: of a page that shows 40, on a fine screen."""
NONE = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 3 1"/>'
"""Of one that has none."""
DRAWN, EMPTY = "image/webp", "image/svg+xml"


def drawn(opened: Opened) -> bytes | None:
    """As WebP; None for a file that can't be read."""
    with opened.file as file:
        facts = opened.grid.facts
        try:
            picture = _whole(file) if facts is None else _beside(tiles(file, facts, range(min(SHOWN, facts.count))))
        except (*UNREADABLE, ValueError):
            return None
    found = io.BytesIO()
    picture.save(found, format="WEBP", lossless=picture.height < SIDE, quality=80, method=2)
    return found.getvalue()


def _beside(some: np.ndarray[Any, np.dtype[np.uint8]]) -> Image.Image:
    """Small ones as they are: the browser enlarges them pixel by pixel."""
    row = np.concatenate(list(some), axis=1)
    picture = Image.fromarray(row[..., 0] if row.shape[-1] == 1 else row)
    if picture.height > SIDE:
        picture = picture.resize((max(1, picture.width * SIDE // picture.height), SIDE), Image.Resampling.LANCZOS)
    return picture


def _whole(file: Any) -> Image.Image:
    """Of a grid that doesn't say where its tiles lie."""
    file.seek(0)
    with Image.open(file, formats=("PNG",)) as picture:
        if picture.width * picture.height > MOST_PIXELS:
            raise ValueError("too many pixels")
        picture.thumbnail((SHOWN * SIDE, SIDE))
        return picture.convert("RGB")
