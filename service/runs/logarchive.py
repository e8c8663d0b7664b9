"""All logs of a run as one tar, whose length is known before anything is read: one file is open at a time, however many there are."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service.runs import logs
from service.runs.logs import Log

PIECE = 256 * 1024
"""Bytes that are read at once."""
BLOCK = tarfile.BLOCKSIZE
END = b"\0" * 2 * BLOCK


@dataclass(frozen=True)
class Slice:
    """A part of a log, as long as it was when it was looked at."""

    log: Log
    part: int
    size: int

    def pieces(self) -> Iterator[bytes]:
        """So many bytes, whatever has become of the file: what is missing is filled up with newlines."""
        left = self.size
        if (file := self.log.open(self.part)) is not None:
            with file:
                while left and (data := file.read(min(PIECE, left))):
                    left -= len(data)
                    yield data
        while left:
            yield b"\n" * min(PIECE, left)
            left -= min(PIECE, left)


Section = bytes | Slice


@dataclass(frozen=True)
class Archive:
    """It reads nothing before it is asked to."""

    sections: tuple[Section, ...]

    @property
    def size(self) -> int:
        """Of all of it."""
        return sum(len(each) if isinstance(each, bytes) else each.size for each in self.sections)

    def pieces(self) -> Iterator[bytes]:
        """All of it."""
        for each in self.sections:
            if isinstance(each, bytes):
                yield each
            else:
                yield from each.pieces()


def pack(found: Sequence[tuple[str, Log]], prefix: str) -> Archive:
    """The logs, each by its name in a folder `prefix`."""
    sections: list[Section] = []
    for name, log in found:
        content, written = _content(log)
        if written is None:
            continue
        size = sum(len(each) if isinstance(each, bytes) else each.size for each in content)
        member = tarfile.TarInfo(f"{prefix}/{name}")
        member.size, member.mode, member.mtime = size, 0o644, int(written)
        sections += [member.tobuf(tarfile.PAX_FORMAT), *content, b"\0" * (-size % BLOCK)]
    return Archive((*sections, END))


def name_of(log: Log) -> str:
    """Within a run's or a trial's folder of the archive."""
    return f"attempt-{log.attempt}/{'driver' if log.rank is None else f'rank-{log.rank:05d}'}.log"


def _content(log: Log) -> tuple[list[Section], float | None]:
    """Its parts, with a note for those that are removed; and when it was written last, None if there is nothing."""
    content: list[Section] = []
    before, parts = None, log.parts()
    for part in parts:
        if before is not None and part.number > before + 1:
            content.append(logs.gap(before, part.number).encode())
        content.append(Slice(log, part.number, part.size))
        before = part.number
    return content, max((part.written.timestamp() for part in parts), default=None)
