"""Any image file → a PNG of the dataset's size and mode."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps

from trainer.data.codec import BadImageError, encode
from trainer.data.source import Source

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
GREY = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L"})


def prepare(encoded: bytes, resolution: int, channels: int) -> bytes:
    """PNG, resolution×resolution, grey (ITU-R 601 luma) or RGB.

    Turned as its EXIF says, alpha laid on white, cropped to the central square, resized with Pillow's antialiased
    bicubic filter; an image that has the right size keeps its pixels. Raises BadImageError.
    """
    with _opened(encoded) as image:
        flat = _flattened(ImageOps.exif_transpose(image))
        converted = flat.convert("L" if channels == 1 else "RGB")
        side = min(converted.size)
        left, top = (converted.width - side) // 2, (converted.height - side) // 2
        box = (left, top, left + side, top + side)
        return encode(converted.resize((resolution, resolution), Image.Resampling.BICUBIC, box))


def prepare_all(source: Source, names: Sequence[str], resolution: int, channels: int) -> list[bytes | str]:
    """For each name the PNG, or why it can't be used. Runs in worker processes."""
    return [_prepared(source, name, resolution, channels) for name in names]


def probe(encoded: bytes) -> tuple[int, bool]:
    """Shorter side in pixels and whether it is grey, from the header. Raises BadImageError."""
    with _opened(encoded) as image:
        return min(image.size), image.mode in GREY


def _prepared(source: Source, name: str, resolution: int, channels: int) -> bytes | str:
    try:
        return prepare(source.read(name), resolution, channels)
    except BadImageError as error:
        return str(error)


@contextmanager
def _opened(encoded: bytes) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # over 89 million pixels, by the header
            with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
                yield image
    except BadImageError:
        raise
    except Exception as error:  # Pillow's decoders raise many types on hostile input
        raise BadImageError(f"can't be decoded ({type(error).__name__}: {error})") from error


def _flattened(image: Image.Image) -> Image.Image:
    """8 bits a channel, without alpha."""
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion clips instead of scaling
        return Image.fromarray((np.asarray(image).astype(np.int64) // 257).clip(0, 255).astype(np.uint8))
    if not image.has_transparency_data:
        return image
    colour = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", colour.size, "white"), colour)
