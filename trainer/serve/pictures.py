"""Images as files, the same bytes each time. Imports no torch.

Shape legend: n images, H height, W width, C channels.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.codec import encode
from trainer.images import enlarged, grid
from trainer.serve import films
from trainer.serve.questions import Form
from trainer.serve.refusals import wrong

WEBP_SIDE = 16383
"""Most pixels a side that a WebP can have."""
MOVING = frozenset({Form.WEBP, Form.GIF, Form.MP4})
"""Forms of what moves, where frames follow each other."""
_TIME = (1980, 1, 1, 0, 0, 0)
"""Of all files in a zip: the earliest that it can say."""


def still(form: Form, images: NDArray[np.uint8], columns: int, arrays: Mapping[str, NDArray[Any] | None]) -> bytes:
    """images_nHWC as a file. arrays: what an npz holds besides; None is left out."""
    if form is Form.PNGS:
        return _zipped({f"{number:06d}.png": encode(_picture(image)) for number, image in enumerate(images)})
    if form is Form.NPZ:
        return npz({"images": images, **arrays})
    laid = _picture(grid(images, columns))
    if form is Form.PNG:
        return encode(laid)
    if max(laid.size) > WEBP_SIDE:
        raise wrong(
            "form", f"the picture is {laid.width} × {laid.height} pixels, and a WebP has {WEBP_SIDE} a side at most"
        )
    return _webp([laid])


def moving(form: Form, frames: NDArray[np.uint8], fps: int) -> bytes:
    """frames_nHWC one after another, for ever."""
    shown = enlarged(frames)
    if form is Form.MP4:
        return films.mp4(shown, fps)
    pictures = [_picture(frame) for frame in shown]
    if form is Form.WEBP:
        return _webp(pictures, fps)
    out = io.BytesIO()
    pictures[0].save(out, "GIF", save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0)
    return out.getvalue()


def abreast(images: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """images_nHWC in rows of `columns`, as frames: one a column, with all its rows beside each other as a grid."""
    rows = len(images) // columns
    across = math.ceil(math.sqrt(rows))
    by_column = images.reshape(rows, columns, *images.shape[1:]).swapaxes(0, 1)
    return np.stack([grid(column, across) if rows > 1 else enlarged(column)[0] for column in by_column])


def npz(arrays: Mapping[str, NDArray[Any] | None]) -> bytes:
    """An archive of arrays, without pickle."""
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **{name: array for name, array in arrays.items() if array is not None})
    return out.getvalue()


def _webp(pictures: list[Image.Image], fps: int = 1) -> bytes:
    """Lossless; several follow each other. Method 0 is within some percent of the smallest, and far quicker."""
    out = io.BytesIO()
    colours = [picture.convert("RGB") for picture in pictures]
    more: dict[str, Any] = {}
    if len(colours) > 1:
        more = {"save_all": True, "append_images": colours[1:], "duration": round(1000 / fps), "loop": 0}
    colours[0].save(out, "WEBP", lossless=True, quality=20, method=0, **more)
    return out.getvalue()


def _zipped(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _TIME), content)
    return out.getvalue()


def _picture(image_HWC: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(image_HWC[..., 0] if image_HWC.shape[-1] == 1 else image_HWC)
