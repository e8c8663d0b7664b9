"""Where the packer finds images: a folder, an archive, or scikit-learn's digits."""

from __future__ import annotations

from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.archive import Tar, Zip, is_tar
from trainer.data.codec import encode
from trainer.data.files import Listing, Source
from trainer.data.folder import Folder
from trainer.errors import BadDataError


class Digits(Source):
    """scikit-learn's digits (UCI optical recognition of handwritten digits): 1797 grey images, 8×8, 10 classes."""

    name = "digits"

    def listing(self) -> Listing:
        """As in Source."""
        return Listing(tuple(sorted(f"{label}/{number:04d}.png" for number, label in enumerate(_digits()[1]))))

    def read(self, name: str) -> bytes:
        """As in Source."""
        pixels = _digits()[0][int(PurePosixPath(name).stem)]
        return encode(Image.fromarray(pixels))


def open_source(text: str, *, follow_links: bool = False) -> Source:
    """`builtin:digits`, a folder, a zip or a tar. Raises BadDataError for anything else."""
    if text == "builtin:digits":
        return Digits()
    path = Path(text).expanduser()
    if path.is_dir():
        return Folder(path, follow=follow_links)
    if path.is_file():
        return Tar(path) if is_tar(path) else Zip(path)
    raise BadDataError(f"{text}: no such folder, zip or tar; give a folder, zip or tar of images, or builtin:digits")


@cache
def _digits() -> tuple[NDArray[np.uint8], list[int]]:
    from sklearn.datasets import load_digits  # takes a second, and only this source needs it

    data = load_digits()
    return np.round(data.images * (255 / 16)).astype(np.uint8), [int(label) for label in data.target]
