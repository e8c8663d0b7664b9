"""Encoded images ↔ uint8 arrays. Pillow does the work; hostile input costs no more than its header.

Shape legend: C channels, H height, W width.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

EXTENSIONS = ("png", "jpg", "jpeg")
"""What a shard's image members may end in."""
_MODES = {1: "L", 3: "RGB"}
_PNG = b"\x89PNG\r\n\x1a\n"


class BadImageError(ValueError):
    """Bytes that are no image of the expected kind."""


def decode(encoded: bytes, resolution: int, channels: int) -> NDArray[np.uint8]:
    """uint8 CHW image, a view. Raises BadImageError for anything but a PNG or JPEG of exactly this size and mode."""
    # The format's class, not Image.open, whose search for the format takes as long as decoding a small image.
    kind = PngImageFile if encoded.startswith(_PNG) else JpegImageFile
    try:
        image = kind(io.BytesIO(encoded))
        if image.size != (resolution, resolution) or image.mode != _MODES[channels]:
            width, height = image.size
            expected = f"{resolution}×{resolution} {_MODES[channels]}"
            raise BadImageError(f"is a {width}×{height} {image.mode} image, not {expected}")
        pixels = image.tobytes()  # loads only now: a decompression bomb never gets here
    except BadImageError:
        raise
    except Exception as error:  # Pillow's decoders raise many types on hostile input
        raise BadImageError(f"can't be decoded ({type(error).__name__}: {error})") from error
    return np.frombuffer(pixels, dtype=np.uint8).reshape(resolution, resolution, channels).transpose(2, 0, 1)


def encode(image: Image.Image) -> bytes:
    """Lossless PNG without metadata. Level 1: within 3 % of the smallest size on small images, and far quicker."""
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()
