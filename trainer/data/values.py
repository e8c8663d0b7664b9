"""Numbers of more than 8 bits → grey levels 0…255: by what the file says black and white are, or by a given range.

Nothing is guessed: an image whose file doesn't say is refused, with the values that it holds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.codec import BadImageError

Range = tuple[float, float]
DEEP = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
"""Pillow's modes of more than 8 bits; all are grey."""
_PHOTOMETRIC, _BITS, _SAMPLE_FORMAT, _LOW, _HIGH = 262, 258, 339, 340, 341
"""TIFF 6.0's tags, pages 29, 37, 80."""


def to_grey(image: Image.Image, file: Image.Image, wanted: Range | None = None) -> Image.Image:
    """Mode L of an image in one of the `DEEP` modes.

    file: the image as it was opened, which knows its format and tags. wanted: the values that become black and white; what
    lies beyond is cut off. BadImageError for values that aren't finite, or if neither the file nor `wanted` says what is black and white.
    """
    values = np.asarray(image)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise BadImageError("holds values that are no numbers (NaN or infinity); replace them before packing")
    low, high = wanted or _said(file, values)
    if (low, high) == (0, 65535):  # exact, and as it always was: 257 steps of 16 bits are one of 8
        grey = values.astype(np.int64) // 257
    else:
        grey = np.rint((values.astype(np.float64) - low) * (255 / (high - low)))
    levels = grey.clip(0, 255).astype(np.uint8)
    return Image.fromarray(255 - levels if _tag(file, _PHOTOMETRIC) == 0 else levels)


def _said(image: Image.Image, values: NDArray[np.generic]) -> Range:
    """What the file says to be black and white."""
    low, high = _tag(image, _LOW), _tag(image, _HIGH)
    if low is not None and high is not None and low < high:
        return low, high
    bits, kind = _tag(image, _BITS), _tag(image, _SAMPLE_FORMAT)
    if image.mode.startswith("I;16"):
        return 0, 2 ** int(bits) - 1 if bits is not None and 8 < bits < 16 else 65535
    if image.mode == "I" and not _is_tiff(image):
        return 0, 65535  # Pillow scales PPM's values to 16 bits by the largest that its header names
    name = (
        "floating-point numbers" if image.mode == "F" else f"{bits or 32:g}-bit {'signed ' if kind == 2 else ''}numbers"
    )
    raise BadImageError(
        f"holds {name} ({float(values.min()):g} to {float(values.max()):g}), and nothing says which are black and white; give --range LOW:HIGH"
    )


def _is_tiff(image: Image.Image) -> bool:
    return image.format == "TIFF"


def _tag(image: Image.Image, number: int) -> float | None:
    """The first value of a TIFF's tag."""
    if not _is_tiff(image):
        return None
    value = image.tag_v2.get(number)  # type: ignore[attr-defined]
    value = value[0] if isinstance(value, tuple) and value else value
    return float(value) if isinstance(value, (int, float)) or hasattr(value, "numerator") else None
