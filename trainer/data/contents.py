"""Which files of a source are images: by their bytes, whatever they are called."""

from __future__ import annotations

import io
import json
import shlex
import warnings
from dataclasses import dataclass
from pathlib import PurePosixPath

from PIL import Image

from trainer.data.archive import Tars
from trainer.data.codec import BadImageError
from trainer.data.files import Ignored, Source
from trainer.data.folder import Folder
from trainer.data.manifest import MANIFEST
from trainer.errors import BadDataError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000")
"""Pillow's names of the formats that are read."""
SUFFIXES = frozenset({
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo", ".webp", ".bmp", ".dib", ".gif",
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".avif", ".avifs", ".jp2", ".j2k", ".j2c", ".jpc", ".jpx",
    ".jpf",
})  # fmt: skip
"""Names that promise an image. Such a file counts as one, and is listed as unreadable if it is none; others are looked into."""
UNREAD = {
    ".heic": "HEIC", ".heif": "HEIC", ".hif": "HEIC", ".jxl": "JPEG XL", ".psd": "Photoshop", ".exr": "OpenEXR", ".dcm": "DICOM",
    ".dng": "raw", ".nef": "raw", ".nrw": "raw", ".cr2": "raw", ".cr3": "raw", ".arw": "raw", ".orf": "raw", ".rw2": "raw",
    ".pef": "raw", ".raf": "raw", ".srw": "raw",
}  # fmt: skip
"""Image files that can't be read, by suffix. A camera's raw file is a TIFF that holds a thumbnail, so its suffix decides."""
RAW = "is a camera's raw file, which can't be read; develop it to PNG, TIFF or JPEG"
_TABLES = frozenset({".json", ".jsonl", ".csv", ".tsv", ".cls", ".txt"})
"""What readers of labels look at; no image is called so."""
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".txz")
_HEAD = 512
_MOST_TABLE = 256 << 20


@dataclass(frozen=True)
class Contents:
    """A source, sorted out."""

    source: Source
    """Where the names can be read: the source itself, or its archives."""
    images: tuple[str, ...]
    """Sorted. What a name promises or the bytes show to be an image, readable or not."""
    others: tuple[str, ...]
    """All other files, sorted: labels, perhaps."""
    folders: tuple[str, ...]
    containers: tuple[str, ...]
    ignored: tuple[Ignored, ...]

    def table(self, name: str) -> bytes:
        """The content of a file of labels. Raises BadDataError if it can't be read or is too large."""
        try:
            content = self.source.read(name)
        except BadImageError as error:
            raise BadDataError(f"{name}: {error}") from error
        if len(content) > _MOST_TABLE:
            raise BadDataError(f"{name}: is larger than {_MOST_TABLE >> 20} MiB; no list of labels is")
        return content


def sort_out(source: Source) -> Contents:
    """The images of a source and what lies beside them. Raises BadDataError for a source that is packed already."""
    listing = source.listing()
    images: list[str] = []
    others: list[str] = []
    for name in listing.names:
        (images if is_image(source, name) else others).append(name)
    contents = Contents(source, tuple(images), tuple(others), listing.folders, listing.containers, listing.ignored)
    _refuse_packed(contents)
    tars = [name for name in others if name.lower().endswith(_TARS)]
    if isinstance(source, Folder) and tars and not images:
        inner = sort_out(Tars(source.root, tars))
        rest = tuple(name for name in others if name not in set(tars))
        left = tuple(Ignored(file=name, reason="beside archives, no image") for name in rest)
        return Contents(
            inner.source, inner.images, inner.others, inner.folders, inner.containers, (*listing.ignored, *left, *inner.ignored)
        )  # fmt: skip
    return contents


def is_image(source: Source, name: str) -> bool:
    """Whether a file is taken for an image; one that turns out to be unreadable is counted as such."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in SUFFIXES or suffix in UNREAD:
        return True
    if suffix in _TABLES:
        return False
    try:
        head = source.head(name, _HEAD)
        return unread(name, head) is not None or (_accepted(head) and _identified(source.read(name)))
    except BadImageError:
        return False


def unread(name: str, head: bytes) -> str | None:
    """Why a file is an image that can't be read; None if it may be one that can, or is none."""
    if is_raw(name):
        return RAW
    kind = UNREAD.get(PurePosixPath(name).suffix.lower())
    if not _accepted(head) or _is_heic(head):
        kind = _magic(head) or kind
        if kind is not None:
            return f"is a {kind} image, which can't be read; convert it to PNG or JPEG"
    return None


def is_raw(name: str) -> bool:
    """Whether a file is called as cameras call their raw files."""
    return UNREAD.get(PurePosixPath(name).suffix.lower()) == "raw"


def described(head: bytes) -> str:
    """What bytes that are no image look like."""
    if not head:
        return "is empty"
    if _accepted(head):
        return "starts like an image and is damaged"
    if not head.strip(b"\0"):
        return "holds zeros, as files do that were cut off while they were copied"
    text = head.lstrip()[:64].lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "holds a web page: what was to be downloaded was not there"
    if text.startswith(b"version https://git-lfs"):
        return "holds a pointer to Git LFS; run `git lfs pull`"
    if b"<svg" in head[:256].lower():
        return "is a drawing (SVG), not pixels; convert it to PNG"
    return "is no image in a format that is read (PNG, JPEG, WebP, AVIF, TIFF, BMP, GIF, PPM or JPEG 2000)"


def _accepted(head: bytes) -> bool:
    """Whether one of Pillow's readers takes the first bytes for its own."""
    if not all(name in Image.OPEN for name in FORMATS):
        Image.init()
    start = head[:16].ljust(16, b"\0")  # some of them need so many
    return any(accept is not None and accept(start) is True for _, accept in (Image.OPEN[name] for name in FORMATS))


def _identified(content: bytes) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(io.BytesIO(content), formats=FORMATS).close()
    except Exception:  # Pillow's readers raise many types on what is none of theirs
        return False
    return True


def _is_heic(head: bytes) -> bool:
    brands = {head[at : at + 4] for at in (8, *range(16, 64, 4))}
    return (
        head[4:8] == b"ftyp" and bool(brands & {b"heic", b"heix", b"hevc", b"heim", b"heis"}) and b"avif" not in brands
    )


def _magic(head: bytes) -> str | None:
    if _is_heic(head):
        return "HEIC"
    if head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return "JPEG XL"
    if head[128:132] == b"DICM":
        return "DICOM"
    return "Photoshop" if head.startswith(b"8BPS") else "OpenEXR" if head.startswith(b"\x76\x2f\x31\x01") else None


def _refuse_packed(contents: Contents) -> None:
    """Packing a packed dataset is a mistake worth its own words."""
    for name in contents.others:
        path = PurePosixPath(name)
        if path.name != MANIFEST or len(path.parts) > 2 or contents.images:
            continue
        try:
            raw = json.loads(contents.table(name))
        except (ValueError, RecursionError):
            continue
        if isinstance(raw, dict) and {"shards", "digest"} <= set(raw):
            fix = "unpack the archive into a folder and train on that"
            if isinstance(contents.source, Folder):
                fix = f"train on it with --set data.url={shlex.quote(str(contents.source.root / path.parent))}"
            raise BadDataError(f"the source is packed already ({name} says so); {fix}")
