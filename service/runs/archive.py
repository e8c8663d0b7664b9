"""A checkpoint as a tar whose length is known before any of its state is read: in pieces, from any byte on.

The manifest, which has the SHA-256 of the other files, comes last, as it is written: what was cut off in the middle has none.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from service.runs.checkpoints import Checkpoint, open_files

PIECE = 1024 * 1024
"""Bytes that are read at once."""
BLOCK = tarfile.BLOCKSIZE
END = b"\0" * 2 * BLOCK


@dataclass(frozen=True)
class Archive:
    """Its files are open until `pieces` has been read to its end, or `close`."""

    tag: str
    size: int
    parts: tuple[tuple[bytes | BinaryIO, int], ...]
    """Headers, padding, and files from their first byte on; each with its length."""

    def pieces(self, begin: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `begin` up to `end`; then it is closed. Raises OSError if a file can't be read to its end."""
        left = (self.size if end is None else end) - begin
        try:
            for part, size in self.parts:
                if begin >= size:
                    begin -= size
                    continue
                for piece in _of(part, begin, min(size - begin, left)):
                    left -= len(piece)
                    yield piece
                begin = 0
                if not left:
                    return
        finally:
            self.close()

    def close(self) -> None:
        """Close its files."""
        for part, _ in self.parts:
            if not isinstance(part, bytes):
                part.close()


def pack(checkpoint: Checkpoint, prefix: str) -> Archive:
    """The checkpoint in a folder `prefix`. Raises FileNotFoundError if it is gone."""
    parts: list[tuple[bytes | BinaryIO, int]] = []
    for name, file in open_files(checkpoint).items():
        size = file.seek(0, 2)
        member = tarfile.TarInfo(f"{prefix}/{name}")
        member.size, member.mode, member.mtime = size, 0o644, int(checkpoint.written.timestamp())
        header, padding = member.tobuf(tarfile.PAX_FORMAT), b"\0" * (-size % BLOCK)
        parts += [(header, len(header)), (file, size), (padding, len(padding))]
    parts.append((END, len(END)))
    return Archive(checkpoint.tag, sum(size for _, size in parts), tuple(parts))


def _of(part: bytes | BinaryIO, begin: int, size: int) -> Iterator[bytes]:
    if isinstance(part, bytes):
        yield part[begin : begin + size]
        return
    part.seek(begin)
    while size:
        piece = part.read(min(PIECE, size))
        if not piece:
            raise OSError(f"{part.name} is shorter than it was")
        size -= len(piece)
        yield piece
