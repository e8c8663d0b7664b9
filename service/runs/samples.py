"""The sample grids in the folder of a job or a trial. Only regular PNG files that lie in it are listed or opened.

A grid's file is replaced as a whole, and only if training went back behind its step and draws it anew (a roll back, an
attempt from an older checkpoint).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from service import paging
from service.runs.places import inside, opened
from trainer.images import GridFacts, grid_facts
from trainer.wire import GRIDS

PNG = b"\x89PNG\r\n\x1a\n"
PIECE = 256 * 1024
"""Bytes that are read at once."""
MOST_DIGITS = 18
_NAME = re.compile(r"^step-(\d{9,18})\.png$")


@dataclass(frozen=True)
class Grid:
    """A grid that is kept."""

    step: int
    size: int
    """Bytes of its PNG."""
    drawn: datetime
    tag: str
    """Another for every file that ever lay there: 32 hexadecimal digits at most."""
    facts: GridFacts | None
    """None: its file doesn't say what it shows; those of older versions don't."""


@dataclass(frozen=True)
class Opened:
    """The file of a grid, which stays what it is if another takes its place."""

    grid: Grid
    file: BinaryIO

    def pieces(self) -> Iterator[bytes]:
        """All of it; then it is closed."""
        with self.file as file:
            file.seek(0)
            left = self.grid.size
            while left and (piece := file.read(min(PIECE, left))):
                left -= len(piece)
                yield piece


def page(root: Path, folder: Path, limit: int, cursor: str | None) -> tuple[list[Grid], str | None]:
    """At most `limit` grids, newest step first, and the cursor of the next page. root: what `folder` lies below.

    Raises Invalid for what is no cursor.
    """
    before = paging.decode(cursor)
    found: list[Grid] = []
    for step in steps(root, folder, before):
        opened = at(root, folder, step)
        if opened is None:
            continue
        opened.file.close()
        if len(found) == limit:
            return found, paging.encode(found[-1].step)
        found.append(opened.grid)
    return found, None


def newest(root: Path, folder: Path) -> Opened | None:
    """The grid of the highest step."""
    return next((opened for step in steps(root, folder) if (opened := at(root, folder, step))), None)


def at(root: Path, folder: Path, step: int) -> Opened | None:
    """The grid of a step; None if there is none."""
    here = inside(root, folder, GRIDS)
    if here is None or not 0 <= step < 10**MOST_DIGITS:
        return None
    try:
        file = opened(here / _name(step))
    except OSError:
        return None
    try:
        about = os.fstat(file.fileno())
        if file.read(len(PNG)) == PNG:
            file.seek(0)
            drawn = datetime.fromtimestamp(about.st_mtime, UTC)
            grid = Grid(step, about.st_size, drawn, _tag(about), grid_facts(file))
            return Opened(grid, file)
    except (OSError, ValueError, OverflowError):
        pass
    file.close()
    return None


def tags(root: Path, folder: Path) -> list[tuple[int, str]]:
    """Steps and tags of all files that have a grid's name, oldest first; none is opened."""
    here = inside(root, folder, GRIDS)
    found: dict[int, str] = {}
    try:
        with os.scandir(here) if here is not None else nullcontext(()) as entries:
            for entry in entries:
                if (match := _NAME.match(entry.name)) and entry.name == _name(int(match[1])):
                    about = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(about.st_mode):
                        found[int(match[1])] = _tag(about)
    except OSError:
        pass
    return sorted(found.items())


def steps(root: Path, folder: Path, before: int | None = None) -> list[int]:
    """Those of which a file has the name, below `before`, newest first."""
    here = inside(root, folder, GRIDS)
    if here is None:
        return []
    try:
        with os.scandir(here) as entries:
            found = {int(match[1]) for entry in entries if (match := _NAME.match(entry.name))}
    except OSError:
        return []
    return sorted((step for step in found if before is None or step < before), reverse=True)


def _name(step: int) -> str:
    return f"step-{step:09d}.png"


def _tag(about: os.stat_result) -> str:
    return f"{about.st_mtime_ns:x}-{about.st_size:x}"
