"""The logs in the folder of a run or of a trial, by attempt and rank. Only regular files that lie in it are read.

A log is in parts (`trainer.launch.output`): it grows in its newest, and those in the middle of a long one are removed. A
place in it is one number that only grows: bytes from its beginning within the first part, and so on in the further ones.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from trainer.search.trial import TRIALS
from trainer.wire import LOGS, log_file, log_part

MAX_PIECE = 1_000_000
"""Bytes of a log in one answer to whoever follows it."""
MAX_TAIL = 4_000_000
"""Bytes among which a log's last lines are looked for."""
LONGEST_CHARACTER = 4
"""Bytes, in UTF-8."""
_PART = 40
"""Bits of a place within its part."""
_TRIAL = re.compile(r"t-\d{5,9}")
_ATTEMPT = re.compile(r"attempt-([1-9]\d{0,9})")
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe keeps nobody waiting


def place(part: int, position: int) -> int:
    """Of a byte of a part."""
    return (part - 1) << _PART | position


def split(found: int) -> tuple[int, int]:
    """Part and position of a place."""
    return (found >> _PART) + 1, found & (1 << _PART) - 1


@dataclass(frozen=True)
class Piece:
    """A part of a log."""

    text: str
    end: int = 0
    """Place behind it: where the next one begins."""


@dataclass(frozen=True)
class Part:
    """A file of a log, as it was looked at."""

    number: int
    size: int
    written: datetime


@dataclass(frozen=True)
class Log:
    """What one process printed in one attempt. root: the folder of all runs, which no link leads out of."""

    root: Path
    folder: Path
    """The run's, or the trial's."""
    attempt: int
    rank: int | None = None
    """None: the driver."""

    def path(self, part: int = 1) -> Path:
        """Of a part."""
        return self.folder / log_file(self.attempt, self.rank, part)

    def open(self, part: int) -> BinaryIO | None:
        """A part; None if there is none."""
        return _open(self.root, self.path(part))

    def numbers(self) -> list[int]:
        """Of its parts, in order, by their names."""
        path = self.path()
        log = log_part(path.name)
        with suppress(OSError, ValueError), _folder(self.root, path.parent) as folder, os.scandir(folder) as entries:
            found = (log_part(entry.name) for entry in entries)
            return sorted(part for name, part in filter(None, found) if log is not None and name == log[0])
        return []

    def parts(self) -> list[Part]:
        """All of it, in order; empty if there is no such log."""
        found: list[Part] = []
        for number in self.numbers():
            if (file := self.open(number)) is not None:
                with file:
                    about = os.fstat(file.fileno())
                    found.append(Part(number, about.st_size, datetime.fromtimestamp(about.st_mtime, UTC)))
        return found

    def exists(self) -> bool:
        """Whether anything of it is kept."""
        return bool(self.parts())


# -- reading


def piece(log: Log, offset: int, most: int | None = None) -> Piece:
    """What lies behind a place, at most `most` bytes of it (default: MAX_PIECE); empty if there is nothing more for now.

    Never half of a character, unless it stays one: its part is over.
    """
    number, position = split(offset)
    while True:
        data = b""
        if (file := log.open(number)) is not None:
            with file:
                data = _read(file, position, most or MAX_PIECE)
        text, used = _text(data)
        if used:
            return Piece(text, place(number, position + used))
        following = next((other for other in log.numbers() if other > number), None)
        if following is None:
            return Piece("", offset)
        if data:  # half of a character, and it stays one
            return Piece(data.decode(errors="replace"), place(number, position + len(data)))
        if following > number + 1:
            return Piece(gap(number, following), place(following, 0))
        number, position, offset = following, 0, place(following, 0)


def tail(log: Log, lines: int, most: int | None = None) -> Piece:
    """The last lines of it, among its last `most` bytes (default: MAX_TAIL)."""
    parts, left = log.parts(), most or MAX_TAIL
    if not parts:
        return Piece("")
    stop = place(parts[-1].number, parts[-1].size)  # what is written meanwhile is for whoever goes on from there
    begin = stop
    for part in reversed(parts):
        begin, left = place(part.number, max(0, part.size - left)), left - part.size
        if left <= 0:
            break
    found, end = "", begin
    while end < stop and (got := piece(log, end, min(MAX_PIECE, stop - end))).text:
        found, end = found + got.text, got.end
    return Piece(_last(found, lines), end)


def of_text(text: str, lines: int | None, offset: int) -> Piece:
    """The same of a log that is at hand: its last lines, or what lies behind a place."""
    data = text.encode()
    if lines is not None:
        return Piece(_last(data[-MAX_TAIL:].decode(errors="replace"), lines), len(data))
    behind = data[offset : offset + MAX_PIECE]
    found, used = _text(behind)
    return Piece(found, min(offset, len(data)) + used)


def _last(text: str, lines: int) -> str:
    rows = text.split("\n")
    rows = rows if rows[-1] else rows[:-1]
    return "\n".join(rows[-lines:]) + ("\n" if text.endswith("\n") else "")


def whole(log: Log) -> tuple[Iterator[bytes], int]:
    """All of it as it is now, byte for byte, piece by piece; and the place to go on from."""
    parts = log.parts()
    if not parts:
        return iter(()), 0
    last = parts[-1]
    size = last.size
    if (file := log.open(last.number)) is not None:
        with file:
            end = _read(file, max(0, size - LONGEST_CHARACTER), min(size, LONGEST_CHARACTER))
            size -= len(end) - _text(end)[1]
    sizes = [(part.number, part.size) for part in parts[:-1]] + [(last.number, size)]
    return _pieces(log, sizes), place(last.number, size)


def _pieces(log: Log, sizes: list[tuple[int, int]]) -> Iterator[bytes]:
    before = sizes[0][0]
    for number, size in sizes:
        if number > before + 1:
            yield gap(before, number).encode()
        before = number
        if (file := log.open(number)) is None:  # removed since: the log has gone on
            yield gap(number - 1, number + 1).encode()
            continue
        with file:
            while size and (data := file.read(min(MAX_PIECE, size))):
                size -= len(data)
                yield data


def gap(before: int, after: int) -> str:
    """What stands for the parts between two."""
    first, last = before + 1, after - 1
    which = f"part {first} of this log is" if first == last else f"parts {first} to {last} of this log are"
    return f"\n--- {which} removed: it keeps its beginning and its end ---\n"


def _read(file: BinaryIO, position: int, most: int) -> bytes:
    file.seek(position)
    return file.read(most)


def _text(data: bytes) -> tuple[str, int]:
    """As text, and how many bytes that is: a character that is cut in two comes with the next piece."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data)
    return text, len(data) - len(decoder.getstate()[0])


# -- what there is


def logs(root: Path, folder: Path) -> list[Log]:
    """All that lie in a folder, newest attempt first, in it the driver and then the workers by rank."""
    found = {(attempt, None) for attempt in _drivers(root, folder)}
    listed: list[tuple[int, int | None]] = [*found]
    for attempt in _attempts(root, folder):
        listed += [(attempt, rank) for rank in _ranks(root, folder / LOGS / f"attempt-{attempt}")]
    ordered = sorted(listed, key=lambda key: (-key[0], -1 if key[1] is None else key[1]))
    return [Log(root, folder, attempt, rank) for attempt, rank in ordered]


def trials(root: Path, folder: Path) -> list[tuple[str, Path]]:
    """Of a search: its trials' ids and folders, by number."""
    return [(name, folder / TRIALS / name) for name in sorted(_names(root, folder / TRIALS)) if _TRIAL.fullmatch(name)]


def _names(root: Path, folder: Path) -> list[str]:
    with suppress(OSError, ValueError), _folder(root, folder) as inside, os.scandir(inside) as entries:
        return [entry.name for entry in entries]
    return []


def _drivers(root: Path, folder: Path) -> set[int]:
    found = (log_part(name) for name in _names(root, folder))
    return {int(log.partition("-")[2]) for log, _ in filter(None, found) if log.startswith("driver-")}


def _attempts(root: Path, folder: Path) -> list[int]:
    found = (_ATTEMPT.fullmatch(name) for name in _names(root, folder / LOGS))
    return [int(match[1]) for match in found if match]


def _ranks(root: Path, folder: Path) -> set[int]:
    found = (log_part(name) for name in _names(root, folder))
    return {int(log.partition("-")[2]) for log, _ in filter(None, found) if log.startswith("rank-")}


# -- files


class _folder:  # noqa: N801 — used as a function
    """A descriptor of a folder below `root` to which no link leads. Raises OSError; ValueError if it isn't below."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for name in folder.relative_to(root).parts:
            above = self._descriptor
            try:
                self._descriptor = os.open(name, _FLAGS | os.O_DIRECTORY, dir_fd=above)
            finally:
                os.close(above)

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *error: object) -> None:
        os.close(self._descriptor)


def _open(root: Path, path: Path) -> BinaryIO | None:
    """A regular file below `root` to which no link leads."""
    try:
        with _folder(root, path.parent) as folder:
            found = os.open(path.name, _FLAGS, dir_fd=folder)
    except (OSError, ValueError):
        return None
    if stat.S_ISREG(os.fstat(found).st_mode):
        return os.fdopen(found, "rb")
    os.close(found)
    return None
