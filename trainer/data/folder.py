"""A folder of files on this machine, and where its links may lead."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from trainer.data.codec import BadImageError
from trainer.data.files import MAX_FILE, Ignored, Listing, Source, hidden, shown, too_large
from trainer.errors import BadDataError


class Folder(Source):
    """Files below a folder.

    A link (to a file or a folder) is followed where it leads to below the folder itself; one that leads out of it is refused,
    because a folder that someone else made could name any file of this machine, unless `follow` says that it is trusted.
    No folder is entered twice, so links can neither go in circles nor multiply files.
    """

    def __init__(self, root: Path, *, follow: bool = False) -> None:
        self.root, self.name, self.follow = root, root.resolve().name or "data", follow
        self._real: dict[str, str] = {}

    def listing(self) -> Listing:
        """As in Source."""
        walk = _Walk(self.root.resolve(), self.follow)
        names: list[str] = []
        folders: list[str] = []
        for path, is_folder in walk.below(self.root):
            name = path.relative_to(self.root).as_posix()
            if (text := shown(name)) != name:
                self._real[text] = name
            (folders if is_folder else names).append(text)
        walk.refuse()
        return Listing(tuple(sorted(names)), tuple(sorted(folders)), tuple(sorted(walk.ignored, key=lambda i: i.file)))

    def read(self, name: str) -> bytes:
        """As in Source."""
        return self._read(name, MAX_FILE)

    def head(self, name: str, count: int) -> bytes:
        """As in Source."""
        return self._read(name, count, cut=True)

    def path(self, name: str) -> Path:
        """Where a file of the listing lies."""
        return self.root / self._real.get(name, name)

    def _read(self, name: str, most: int, cut: bool = False) -> bytes:
        try:
            with open(self.path(name), "rb", opener=_no_wait) as file:
                facts = os.fstat(file.fileno())
                if not stat.S_ISREG(facts.st_mode):
                    raise BadImageError("is no regular file")
                if facts.st_size > most and not cut:
                    raise too_large(facts.st_size)
                return file.read(most)
        except OSError as error:
            raise BadImageError(f"can't be read ({error.strerror})") from error


class _Walk:
    """One walk through a folder: what was ignored on the way, and the links that are refused."""

    def __init__(self, root: Path, follow: bool) -> None:
        self.root, self.follow = root, follow
        self.ignored: list[Ignored] = []
        self._entered: dict[tuple[int, int], str] = {}
        self._outside: list[str] = []
        self._twice: list[str] = []

    def below(self, top: Path) -> Iterator[tuple[Path, bool]]:
        """(path, whether it is a folder) of all below `top`. Real folders come before linked ones, which may be the same."""
        waiting, linked = [top], list[Path]()
        while waiting or linked:
            folder = waiting.pop() if waiting else linked.pop()
            if not self._enter(folder, top):
                continue
            if folder != top:
                yield folder, True
            for entry in self._entries(folder, top):
                path = folder / entry.name
                if hidden(entry.name):
                    self._ignore(path, top, "hidden", "/" if entry.is_dir(follow_symlinks=False) else "")
                elif entry.is_symlink() and not self._allowed(path, top):
                    continue
                elif entry.is_dir():
                    (linked if entry.is_symlink() else waiting).append(path)
                elif entry.is_file():
                    yield path, False
                else:
                    self._ignore(path, top, "no regular file")

    def refuse(self) -> None:
        """Raises BadDataError if a link must not be followed."""
        if self._outside:
            raise BadDataError(
                f"{_some(self._outside, 'link')} out of SOURCE: {_few(self._outside)}; put the files themselves there, or give "
                "--follow-links if you know who made this folder"
            )
        if self._twice:
            raise BadDataError(
                f"{_some(self._twice, 'link')} to folders that are read already: {_few(self._twice)}; remove the links, or "
                "give a folder that holds each image once"
            )

    def _entries(self, folder: Path, top: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return list(entries)
        except OSError as error:
            where = shown(folder.relative_to(top).as_posix())
            raise BadDataError(
                f"{where}: can't be listed ({error.strerror}); make it readable, or move it away"
            ) from error

    def _enter(self, folder: Path, top: Path) -> bool:
        facts = folder.stat()
        name = shown(folder.relative_to(top).as_posix())
        first = self._entered.setdefault((facts.st_dev, facts.st_ino), name)
        if first != name:
            self._twice.append(f"{name} → {first if first != '.' else 'SOURCE itself'}")
        return first == name

    def _allowed(self, path: Path, top: Path) -> bool:
        """Whether a link may be followed; says why not otherwise."""
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError):
            self._ignore(path, top, "a link that leads nowhere")
            return False
        if self.follow or target.is_relative_to(self.root):
            return True
        self._outside.append(f"{shown(path.relative_to(top).as_posix())} → {shown(str(target))}")
        return False

    def _ignore(self, path: Path, top: Path, reason: str, end: str = "") -> None:
        self.ignored.append(Ignored(file=shown(path.relative_to(top).as_posix()) + end, reason=reason))


def _some(items: list[str], word: str) -> str:
    return f"1 {word} leads" if len(items) == 1 else f"{len(items):,} {word}s lead"


def _few(items: list[str]) -> str:
    return "; ".join(sorted(items)[:3]) + ("; …" if len(items) > 3 else "")


def _no_wait(path: str, flags: int) -> int:
    """Opens without waiting: a named pipe would otherwise hold the packer until someone writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)
