"""Any image file → a PNG of the dataset's size and mode, and what was seen on the way."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError

from trainer.data.census import Seen, see
from trainer.data.codec import BadImageError, encode
from trainer.data.contents import FORMATS, RAW, described, is_raw, unread
from trainer.data.files import Source
from trainer.data.values import DEEP, Range, to_grey

GREY = frozenset({"1", "L", "LA", "La"}) | DEEP
_STILL = frozenset({"JPEG", "MPO", "TIFF"})
"""Formats whose further frames are previews, depth maps and pages, no movement."""


@dataclass(frozen=True)
class Form:
    """What images are made into."""

    resolution: int
    channels: int
    range: Range | None = None
    """The values of images of more than 8 bits that become black and white; None: as each file says."""


@dataclass(frozen=True)
class Prepared:
    """An image, ready to be stored."""

    png: bytes
    seen: Seen


def prepare(encoded: bytes, resolution: int, channels: int) -> bytes:
    """PNG, resolution×resolution, grey (ITU-R 601 luma) or RGB.

    Turned as its EXIF says, alpha laid on white, cropped to the central square, resized with Pillow's antialiased
    bicubic filter; an image that has the right size keeps its pixels. Raises BadImageError.
    """
    return prepared(encoded, Form(resolution, channels)).png


def prepared(encoded: bytes, form: Form, name: str = "") -> Prepared:
    """As :func:`prepare`, with what was seen. `name` tells of formats that their bytes don't tell of."""
    with _opened(encoded, name) as image:
        size, grey = image.size, image.mode in GREY
        moving = image.format not in _STILL and bool(getattr(image, "is_animated", False))
        flat = _flattened(image, form.range)
        converted = flat.convert("L" if form.channels == 1 else "RGB")
        side = min(converted.size)
        left, top = (converted.width - side) // 2, (converted.height - side) // 2
        box = (left, top, left + side, top + side)
        final = converted.resize((form.resolution, form.resolution), Image.Resampling.BICUBIC, box)
        return Prepared(encode(final), see(final, size, grey=grey, moving=moving))


def prepare_all(source: Source, names: Sequence[str], form: Form) -> list[Prepared | str]:
    """For each name the image, or why it can't be used. Runs in worker processes."""
    return [_one(source, name, form) for name in names]


def probe(encoded: bytes, name: str = "") -> tuple[int, bool]:
    """Shorter side in pixels and whether it is grey, from the header. Raises BadImageError."""
    with _opened(encoded, name) as image:
        return min(image.size), image.mode in GREY


def dimensions(encoded: bytes) -> tuple[int, int]:
    """Width and height in pixels, from the header. Raises BadImageError."""
    with _opened(encoded, "") as image:
        return image.size


def _one(source: Source, name: str, form: Form) -> Prepared | str:
    try:
        return prepared(source.read(name), form, name)
    except BadImageError as error:
        return str(error)


@contextmanager
def _opened(encoded: bytes, name: str) -> Iterator[Image.Image]:
    if is_raw(name):
        raise BadImageError(RAW)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # over 89 million pixels, by the header
            with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
                yield image
    except BadImageError:
        raise
    except UnidentifiedImageError as error:
        raise BadImageError(unread(name, encoded[:512]) or described(encoded[:512])) from error
    except Exception as error:  # Pillow's decoders raise many types on hostile input
        raise BadImageError(f"can't be decoded ({type(error).__name__}: {error})") from error


def _flattened(image: Image.Image, wanted: Range | None) -> Image.Image:
    """8 bits a channel, upright, without alpha."""
    if (
        wanted is not None
        and image.mode not in DEEP
        and any(";16" in str(tile.args) for tile in getattr(image, "tile", ()))
    ):
        raise BadImageError(
            "has 16 bits a colour, of which the upper 8 are read: --range can't scale it; convert it to 8 bits"
        )
    turned = ImageOps.exif_transpose(image)
    if image.mode in DEEP:
        return to_grey(turned, image, wanted)
    if not turned.has_transparency_data:
        return turned
    colour = turned.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", colour.size, "white"), colour)
