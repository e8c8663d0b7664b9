"""Where the packer finds images: a folder, a zip, or scikit-learn's digits. Nothing is extracted to disk."""

from __future__ import annotations

import io
import os
import zipfile
from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.codec import BadImageError, encode
from trainer.errors import BadDataError

MAX_FILE = 256 << 20
"""Bytes of one encoded image; a larger member is refused before it is read (zip bombs)."""


class Source(ABC):
    """Named files. Cheap to pickle: worker processes open what they need."""

    name: str
    """What the dataset is called by default."""

    @abstractmethod
    def names(self) -> list[str]:
        """Relative names of all files, `/`-separated, sorted."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """One file. Raises BadImageError if it can't be read or is too large."""


class Folder(Source):
    """Files below a folder. Links to files are followed, links to folders are not."""

    def __init__(self, root: Path) -> None:
        self.root, self.name = root, root.resolve().name

    def names(self) -> list[str]:
        """As in Source."""
        found = []
        for folder, _, files in os.walk(self.root):
            inside = Path(folder).relative_to(self.root)
            found += [(inside / file).as_posix() for file in files]
        return sorted(found)

    def read(self, name: str) -> bytes:
        """As in Source."""
        path = self.root / name
        try:
            if path.stat().st_size > MAX_FILE:
                raise BadImageError(f"is larger than {MAX_FILE >> 20} MiB")
            return path.read_bytes()
        except OSError as error:
            raise BadImageError(f"can't be read ({error.strerror})") from error


class Zip(Source):
    """Members of a zip archive. Names that are absolute, climb out or hold control characters are dropped."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.stem
        if not zipfile.is_zipfile(path):
            raise BadDataError(f"{path}: is no zip archive; give a folder or a zip of images")

    def names(self) -> list[str]:
        """As in Source."""
        members = (member for member in _archive(self.path).infolist() if not member.is_dir())
        return sorted({member.filename for member in members if _safe(member.filename)})

    def read(self, name: str) -> bytes:
        """As in Source. The declared size bounds what is inflated."""
        try:
            archive = _archive(self.path)
            if archive.getinfo(name).file_size > MAX_FILE:
                raise BadImageError(f"is larger than {MAX_FILE >> 20} MiB")
            return archive.read(name)
        except BadImageError:
            raise
        except Exception as error:  # zipfile raises RuntimeError, BadZipFile, zlib.error, NotImplementedError, …
            raise BadImageError(f"can't be read ({error})") from error


class Digits(Source):
    """scikit-learn's digits (UCI optical recognition of handwritten digits): 1797 grey images, 8×8, 10 classes."""

    name = "digits"

    def names(self) -> list[str]:
        """As in Source."""
        return sorted(f"{label}/{number:04d}.png" for number, label in enumerate(_digits()[1]))

    def read(self, name: str) -> bytes:
        """As in Source."""
        pixels = _digits()[0][int(PurePosixPath(name).stem)]
        return encode(Image.fromarray(pixels))


def open_source(text: str) -> Source:
    """`builtin:digits`, a folder or a zip. Raises BadDataError for anything else."""
    if text == "builtin:digits":
        return Digits()
    path = Path(text).expanduser()
    if path.is_dir():
        return Folder(path)
    if path.is_file():
        return Zip(path)
    raise BadDataError(f"{text}: no such folder or zip; give a folder or zip of images, or builtin:digits")


def _safe(name: str) -> bool:
    return (
        name.isprintable()
        and not name.startswith(("/", "\\"))
        and ".." not in PurePosixPath(name.replace("\\", "/")).parts
    )


@cache
def _archive(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.FileIO(path))


@cache
def _digits() -> tuple[NDArray[np.uint8], list[int]]:
    from sklearn.datasets import load_digits  # takes a second, and only this source needs it

    data = load_digits()
    return np.round(data.images * (255 / 16)).astype(np.uint8), [int(label) for label in data.target]
