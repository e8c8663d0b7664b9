"""What the packer reads from: named files, wherever they lie, and the rules for names that strangers chose."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import PurePosixPath

from trainer.data.codec import BadImageError
from trainer.schema import Frozen

MAX_FILE = 256 << 20
"""Bytes of one file; a larger one is refused before it is read (zip bombs)."""
HIDDEN = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini", "$RECYCLE.BIN"})
"""What file managers and archivers leave beside what a person put there; all that starts with a dot is hidden, too."""


class Ignored(Frozen):
    """A file (or, with a `/` at its end, all below a folder) that was not packed."""

    file: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """What a source holds."""

    names: tuple[str, ...]
    """Relative names of all files, `/`-separated, sorted."""
    folders: tuple[str, ...] = ()
    """The folders that the source itself lists, empty ones with them, sorted. Others follow from the names."""
    ignored: tuple[Ignored, ...] = ()
    """What is there and can't be a name: hidden files, names that climb out, links that lead nowhere."""
    containers: tuple[str, ...] = ()
    """Names of archives in the source whose members are listed as if they lay in a folder of that name."""


class Source(ABC):
    """Named files. Cheap to pickle: worker processes open what they need."""

    name: str
    """What the dataset is called by default."""

    @abstractmethod
    def listing(self) -> Listing:
        """All files. Raises BadDataError for a source that can't be listed or must not be followed."""

    def names(self) -> list[str]:
        """The names of all files, sorted."""
        return list(self.listing().names)

    @abstractmethod
    def read(self, name: str) -> bytes:
        """One file. Raises BadImageError if it can't be read or is too large."""

    def head(self, name: str, count: int) -> bytes:
        """The first `count` bytes, or fewer of a shorter file. Raises BadImageError."""
        return self.read(name)[:count]

    def close(self) -> None:  # noqa: B027 — most sources hold nothing
        """Give back what was unpacked for reading. Nothing by default."""


def hidden(name: str) -> bool:
    """Whether a file manager would not show it."""
    return any(part.startswith(".") or part in HIDDEN for part in PurePosixPath(name).parts)


def unsafe(name: str) -> str | None:
    """Why a name of an archive can't be taken as the name of a file below it; None if it can."""
    if not name.isprintable():
        return "its name holds control characters"
    if name.startswith("/"):
        return "its name starts at the root"
    if ".." in PurePosixPath(name).parts:
        return "its name climbs out of the archive"
    return None


def shown(name: str) -> str:
    """A file name as text that any terminal and JSON can carry: what is no UTF-8 or not printable is escaped."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def too_large(size: int) -> BadImageError:
    """The error for a file of so many bytes."""
    return BadImageError(f"is larger than {MAX_FILE >> 20} MiB ({size >> 20:,} MiB)")
