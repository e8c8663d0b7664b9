"""Zip and tar archives as sources. Members are read where they lie; nothing is extracted into files of their own names."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from trainer.data.codec import BadImageError
from trainer.data.files import MAX_FILE, Ignored, Listing, Source, hidden, shown, too_large, unsafe
from trainer.errors import BadDataError

MAX_RATIO = 100
"""How much larger a compressed tar may become: images are compressed already, a bomb is not an image."""
RESERVE = 1 << 30
"""Bytes kept free on the disk that a compressed tar is unpacked to."""
Packed = gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile
PACKERS: dict[bytes, Callable[[Path], Packed]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
"""First bytes of a compressed file → what reads it."""
BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What zipfile reads no further than it is asked to: of the others, a kilobyte can become a gigabyte before it says a word."""
UNBOUNDED = "is compressed in an unusual way (bzip2, LZMA, …), of which a few bytes may become gigabytes; zip it again as usual (deflate)"
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)


class Zip(Source):
    """Members of a zip archive. Names that are absolute, climb out or hold control characters are left out and listed."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.stem
        if not zipfile.is_zipfile(path):
            raise BadDataError(f"{path}: is no zip archive; give a folder, zip or tar of images")
        self._members: dict[str, str] = {}

    def listing(self) -> Listing:
        """As in Source. A backslash in a name without slashes parts folders: old tools on Windows write it so."""
        try:
            members = _archive(self.path).infolist()
        except Exception as error:  # zipfile raises many types on a damaged directory
            raise BadDataError(f"{self.path}: is a damaged zip archive ({error}); copy or download it again") from error
        found = _Names()
        for member in members:
            name = member.filename
            name = name if "/" in name else name.replace("\\", "/")
            found.add(member.filename, name, name.endswith("/"))
        self._members = found.members
        return found.listing()

    def read(self, name: str) -> bytes:
        """As in Source. The declared size bounds what is inflated: no more is asked of the decompressor, which would
        otherwise inflate a member that declares less than it holds."""
        return self._read(name, MAX_FILE)

    def head(self, name: str, count: int) -> bytes:
        """As in Source."""
        return self._read(name, count, cut=True)

    def _read(self, name: str, most: int, cut: bool = False) -> bytes:
        try:
            archive = _archive(self.path)
            member = archive.getinfo(self._members.get(name, name))
            if member.file_size > most and not cut:
                raise too_large(member.file_size)
            if member.compress_type not in BOUNDED:
                raise BadImageError(UNBOUNDED)
            with archive.open(member) as file:
                return file.read(most if cut else member.file_size)  # a whole read compares the checksum, too
        except BadImageError:
            raise
        except Exception as error:  # zipfile raises RuntimeError, BadZipFile, zlib.error, NotImplementedError, …
            raise BadImageError(f"can't be read ({error})") from error


class Tar(Source):
    """Regular members of a tar archive, also of a compressed one, which is unpacked to a temporary file first."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name.partition(".")[0] or "data"
        self._plain: Path | None = None
        self._at: dict[str, tuple[int, int]] = {}

    def listing(self) -> Listing:
        """As in Source. Links and devices are left out and listed."""
        found = _Names()
        places: dict[str, tuple[int, int]] = {}
        try:
            with tarfile.open(self._file(), "r:") as archive:
                for member in archive:
                    name = member.name.replace("\\", "/") if "/" not in member.name else member.name
                    if member.isdir() or (member.isreg() and not member.issparse()):
                        found.add(member.name, name, member.isdir())
                        places[member.name] = (member.offset_data, member.size)
                    else:
                        found.ignore(
                            name, "a link in the archive" if member.issym() or member.islnk() else "no regular file"
                        )
                    vars(archive)["members"] = []  # what was walked past isn't kept: an archive may hold millions
                self._refuse_damaged(archive.offset)
        except (tarfile.TarError, *_BROKEN) as error:
            raise BadDataError(f"{self.path}: is a damaged tar archive ({error}); copy or download it again") from error
        self._at = {name: places[member] for name, member in found.members.items()}
        return found.listing()

    def read(self, name: str) -> bytes:
        """As in Source."""
        _, size = self._at[name]
        if size > MAX_FILE:
            raise too_large(size)
        return self._read(name, size)

    def head(self, name: str, count: int) -> bytes:
        """As in Source."""
        return self._read(name, min(count, self._at[name][1]))

    def close(self) -> None:
        """As in Source."""
        if self._plain is not None:
            self._plain.unlink(missing_ok=True)
            self._plain = None

    def _refuse_damaged(self, end: int) -> None:
        """tarfile takes a header that it can't read for the end of the archive."""
        if os.pread(_opened(self._file()).fileno(), tarfile.BLOCKSIZE, end).strip(b"\0"):
            raise tarfile.ReadError(f"no header at byte {end:,}")

    def _read(self, name: str, count: int) -> bytes:
        content = os.pread(_opened(self._file()).fileno(), count, self._at[name][0])
        if len(content) < count:
            raise BadImageError("ends too early: the archive is cut off")
        return content

    def _file(self) -> Path:
        """The plain tar: the file itself, or what was unpacked of it."""
        if self._plain is None:
            with self.path.open("rb") as file:
                head = file.read(8)
            opener = next((opener for magic, opener in PACKERS.items() if head.startswith(magic)), None)
            if opener is None:
                return self.path
            self._plain = _inflated(self.path, opener)
        return self._plain


class Tars(Source):
    """The tar archives of a folder, as WebDataset's shards lie there: the members of each as if in a folder of its name."""

    def __init__(self, root: Path, names: Iterable[str]) -> None:
        self.name = root.resolve().name or "data"
        self._tars = {name: Tar(root / name) for name in sorted(names)}

    def listing(self) -> Listing:
        """As in Source."""
        parts = {tar: source.listing() for tar, source in self._tars.items()}
        return Listing(
            tuple(sorted(f"{tar}/{name}" for tar, part in parts.items() for name in part.names)),
            tuple(sorted(f"{tar}/{name}" for tar, part in parts.items() for name in part.folders)),
            tuple(
                Ignored(file=f"{tar}/{i.file}", reason=i.reason) for tar, part in parts.items() for i in part.ignored
            ),
            tuple(self._tars),
        )

    def read(self, name: str) -> bytes:
        """As in Source."""
        tar, inner = self._split(name)
        return self._tars[tar].read(inner)

    def head(self, name: str, count: int) -> bytes:
        """As in Source."""
        tar, inner = self._split(name)
        return self._tars[tar].head(inner, count)

    def close(self) -> None:
        """As in Source."""
        for tar in self._tars.values():
            tar.close()

    def _split(self, name: str) -> tuple[str, str]:
        parts = name.split("/")
        for end in range(1, len(parts)):
            if (tar := "/".join(parts[:end])) in self._tars:
                return tar, "/".join(parts[end:])
        raise KeyError(name)


def is_tar(path: Path) -> bool:
    """Whether a file is a tar, plain or compressed, by its first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
        for magic, opener in PACKERS.items():
            if head.startswith(magic):
                with opener(path) as packed:
                    head = packed.read(512)
                break
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError, *_BROKEN):
        return False
    return True


class _Names:
    """The names that an archive's members become, and those that become none."""

    def __init__(self) -> None:
        self.members: dict[str, str] = {}
        self._folders: set[str] = set()
        self._ignored: list[Ignored] = []

    def add(self, member: str, name: str, is_folder: bool) -> None:
        if (reason := unsafe(name.encode("utf-8", "replace").decode())) is not None:
            self.ignore(name, reason)
            return
        name = "/".join(part for part in PurePosixPath(shown(name)).parts if part != ".")
        if not name:
            return
        if hidden(name):
            self.ignore(name + "/" * is_folder, "hidden")
        elif is_folder:
            self._folders.add(name)
        else:
            if name in self.members:
                self.ignore(name, "is in the archive twice; the last one counts")
            self.members[name] = member

    def ignore(self, name: str, reason: str) -> None:
        self._ignored.append(Ignored(file=shown(name), reason=reason))

    def listing(self) -> Listing:
        order = sorted(self._ignored, key=lambda item: item.file)
        return Listing(tuple(sorted(self.members)), tuple(sorted(self._folders)), tuple(order))


def _inflated(path: Path, opener: Callable[[Path], Packed]) -> Path:
    """The compressed file's content in a temporary file. Raises BadDataError for a bomb, a full disk or a damaged file."""
    most = MAX_RATIO * path.stat().st_size + (1 << 20)
    handle, name = tempfile.mkstemp(prefix="agon-", suffix=".tar")
    plain = Path(name)
    try:
        with os.fdopen(handle, "wb") as out, opener(path) as packed:
            while block := packed.read(1 << 20):
                out.write(block)
                if out.tell() > most:
                    raise BadDataError(f"{path}: grows to over {MAX_RATIO} times its size: no archive of images")
                if shutil.disk_usage(plain.parent).free < RESERVE:
                    raise BadDataError(
                        f"{path}: does not fit into {plain.parent} unpacked; unpack it and give the folder"
                    )
    except _BROKEN as error:
        plain.unlink(missing_ok=True)
        raise BadDataError(f"{path}: is a damaged archive ({error}); copy or download it again") from error
    except BaseException:
        plain.unlink(missing_ok=True)
        raise
    return plain


@cache
def _archive(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.FileIO(path))


@lru_cache(64)  # a folder of shards may hold more files than a process may have open
def _opened(path: Path) -> BinaryIO:
    return path.open("rb", buffering=0)
