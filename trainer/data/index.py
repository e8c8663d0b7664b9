"""Where each sample of a WebDataset tar lies, so that any of them is one `pread` away.

The tar's headers are walked here rather than by `tarfile`, which takes 40 µs a member (a minute for ImageNet); what it
checks beyond this, the shard's SHA-256 has proven already.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.codec import EXTENSIONS

BLOCK = 512
REGULAR = (b"0", b"\0")
COLUMNS = ("offset", "size", "label")


class BadShardError(ValueError):
    """A tar that is not what the manifest promised."""


def build_index(path: Path, classes: int) -> NDArray[np.int64]:
    """int64 [samples, 3] with :data:`COLUMNS`, in the tar's order.

    A sample is the consecutive members that share a path up to the first dot of its last part: one image (png, jpg, jpeg) and, if
    `classes` > 0, a `cls` member with the label in ASCII. Other members are ignored, whatever they are: nothing is
    extracted or interpreted, so a member's name or type can do no harm.
    Raises BadShardError for a damaged tar, a sample without image or label, or a label out of range.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as tar:
        return np.array(_rows(tar, classes), dtype=np.int64).reshape(-1, len(COLUMNS))


def index_head(head: bytes, classes: int) -> list[tuple[int, int, int]]:
    """The rows of those samples that lie whole in the first bytes of a tar, and are followed by another or by its end.

    Raises BadShardError as :func:`build_index`, but not for where the bytes end.
    """
    return _rows(head, classes, whole=False)


def _rows(tar: mmap.mmap | bytes, classes: int, *, whole: bool = True) -> list[tuple[int, int, int]]:
    rows: list[tuple[int, int, int]] = []
    key, parts = b"", dict[str, tuple[int, int]]()
    members, ended = _members(tar, whole=whole)
    for name, offset, size in members:
        folder, slash, base = name.rpartition(b"/")
        stem, _, extension = base.partition(b".")
        if folder + slash + stem != key:
            _append(rows, tar, key, parts, classes)
            key, parts = folder + slash + stem, {}
        kind = extension.lower().decode("ascii", "replace")
        if kind == "cls" or kind in EXTENSIONS:
            parts["cls" if kind == "cls" else "image"] = (offset, size)
    if ended:
        _append(rows, tar, key, parts, classes)
    return rows


def _members(tar: mmap.mmap | bytes, *, whole: bool) -> tuple[list[tuple[bytes, int, int]], bool]:
    """Name, data offset and size of the regular members, and whether the archive's end was met.

    Raises BadShardError; one that is not `whole` may end anywhere.
    """
    found: list[tuple[bytes, int, int]] = []
    position, end = 0, len(tar)
    while position + BLOCK <= end:
        header = tar[position : position + BLOCK]
        if header[0] == 0:  # the end-of-archive block
            return found, True
        try:
            size = int(header[124:136].rstrip(b" \0"), 8)
        except ValueError:
            raise BadShardError(f"has a damaged tar header at byte {position}") from None
        offset = position + BLOCK
        if not whole and offset + max(0, size) > end:
            return found, False
        if size < 0 or offset + size > end:
            raise BadShardError(f"ends inside the member at byte {position}")
        if header[156:157] in REGULAR:
            prefix = header[345:500].partition(b"\0")[0] if header[257:262] == b"ustar" else b""
            found.append((prefix + b"/" + header[:100].partition(b"\0")[0], offset, size))
        position = offset + -(-size // BLOCK) * BLOCK
    if not whole:
        return found, False
    raise BadShardError("ends without an end-of-archive block")


def _append(
    rows: list[tuple[int, int, int]],
    tar: mmap.mmap | bytes,
    key: bytes,
    parts: dict[str, tuple[int, int]],
    classes: int,
) -> None:
    if not parts:
        return
    name = key.decode("utf-8", "replace").lstrip("/")
    if "image" not in parts:
        raise BadShardError(f"sample {name!r} has no image ({', '.join(EXTENSIONS)})")
    label = 0
    if classes:
        if "cls" not in parts:
            raise BadShardError(f"sample {name!r} has no label (.cls)")
        offset, size = parts["cls"]
        label = _label(tar[offset : offset + min(size, 20)], name, classes)
    rows.append((*parts["image"], label))


def _label(text: bytes, name: str, classes: int) -> int:
    digits = text.strip()
    if not digits.isdigit() or int(digits) >= classes:
        raise BadShardError(f"sample {name!r} has label {text!r}; labels are 0 to {classes - 1}")
    return int(digits)
