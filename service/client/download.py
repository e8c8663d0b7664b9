"""An archive of a checkpoint or a package, fetched into a folder or a file: proved by its SHA-256 as it comes, and whole or not there."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import httpx

from service.client.connection import FIRST_PAUSE, LONGEST_PAUSE, Connection, passing
from service.client.errors import Unreachable, UnreadableReply, from_response

SILENCE_SECONDS = 60.0
PIECE = 1024 * 1024
"""Bytes that are written at once."""


@dataclass(frozen=True)
class Kind:
    """Of an archive."""

    what: str
    manifest: str
    """The file that proves the others."""
    file: re.Pattern[str]
    """What a file of it is called, below its folder."""
    told: Callable[[Any], dict[str, str]]
    """SHA-256 of each other file, by the manifest."""


CHECKPOINT = Kind(
    "checkpoint",
    "manifest.json",
    re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}\.(?:safetensors|json)$"),
    lambda manifest: {name: facts["sha256"] for name, facts in manifest["files"].items()},
)
PACKAGE = Kind(
    "package",
    "checksums.json",
    re.compile(r"^(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,99}/){0,5}[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$"),
    dict,
)


def fetch(connection: Connection, path: str, target: Path, kind: Kind = CHECKPOINT) -> Path:
    """Write the archive at `path` to `target`: as it is if that ends in `.tar`, else its files into that folder. Returns `target`.

    An archive that breaks off goes on where it did. Raises ApiError, Unreachable, UnreadableReply if it isn't what its manifest
    says, and FileExistsError for a folder that is there.
    """
    as_tar = target.suffix == ".tar"
    if not as_tar and target.exists():
        raise FileExistsError(f"{target} is there already; give another folder, or remove it")
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        if as_tar:
            with aside.open("wb") as kept:
                _unpack(_Incoming(_pieces(connection, path), kept), None, path, kind)
        else:
            aside.mkdir(mode=0o700)
            _unpack(_Incoming(_pieces(connection, path)), aside, path, kind)
        aside.rename(target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        aside.unlink(missing_ok=True)
        raise
    return target


def _unpack(incoming: _Incoming, folder: Path | None, path: str, kind: Kind) -> None:
    """Prove all files, and write them where a folder is given."""
    found: dict[str, str] = {}
    manifest: Any = None
    try:
        with tarfile.open(fileobj=incoming, mode="r|", bufsize=PIECE) as archive:
            for member in archive:
                name, file = member.name.partition("/")[2], archive.extractfile(member)
                if not member.isreg() or file is None or not kind.file.fullmatch(name) or name in found:
                    raise UnreadableReply(f"{path} has {member.name!r}, which is no file of a {kind.what}")
                content = _written(file, folder / name if folder is not None else None, whole=name == kind.manifest)
                found[name] = content[0]
                manifest = json.loads(content[1]) if name == kind.manifest else manifest
        incoming.drain()
        told = kind.told(manifest)
    except (tarfile.TarError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UnreadableReply(f"{path} is no {kind.what}'s archive: {error}") from error
    found.pop(kind.manifest, None)
    if wrong := sorted(name for name in told.keys() | found.keys() if told.get(name) != found.get(name)):
        raise UnreadableReply(f"{path}: the SHA-256 of {', '.join(wrong)} differs from the manifest's")


def _written(file: IO[bytes], path: Path | None, *, whole: bool) -> tuple[str, bytes]:
    """SHA-256 of a file, and its content if that is asked for."""
    digest, content = hashlib.sha256(), bytearray()
    with ExitStack() as stack:
        if path is not None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        out = stack.enter_context(path.open("xb")) if path is not None else None
        while piece := file.read(PIECE):
            digest.update(piece)
            if out is not None:
                out.write(piece)
            if whole:
                content += piece
    return digest.hexdigest(), bytes(content)


class _Incoming(io.RawIOBase):
    """What comes, as a file that is read once; a copy of all of it goes into `kept`."""

    def __init__(self, pieces: Iterator[bytes], kept: BinaryIO | None = None) -> None:
        self._pieces, self._kept, self._rest = pieces, kept, b""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Some bytes; none at the end."""
        self._rest = self._rest or next(self._pieces, b"")
        found, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(found)] = found
        if self._kept is not None:
            self._kept.write(found)
        return len(found)

    def drain(self) -> None:
        """Read what lies behind the last file."""
        while self.read(PIECE):
            pass


def _pieces(connection: Connection, path: str) -> Iterator[bytes]:
    """All bytes, however often the connection breaks."""
    done, tag, pause, since = 0, "", FIRST_PAUSE, time.monotonic()
    while True:
        before = done
        try:
            headers = {"Range": f"bytes={done}-", "If-Range": tag} if done else {}
            timeout = httpx.Timeout(connection.http.timeout.connect, read=SILENCE_SECONDS)
            with connection.http.stream("GET", path, headers=headers, timeout=timeout) as response:
                if not response.is_success:
                    response.read()
                    if not passing(response):
                        raise from_response(response)
                    raise httpx.ReadError(f"status {response.status_code}")
                if done and response.status_code != 206:
                    raise UnreadableReply(f"{path} is another archive than the one that broke off; fetch it again")
                tag = response.headers.get("etag", "")
                for piece in response.iter_raw():
                    done += len(piece)
                    yield piece
            return
        except httpx.TransportError as error:
            if done > before:
                pause, since = FIRST_PAUSE, time.monotonic()
            elif time.monotonic() - since > connection.patience:
                raise Unreachable(connection.url, error, proxied=connection.proxied) from error
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
