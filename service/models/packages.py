"""A version's package as a tar whose length is known before any of it is read: its files come from MLflow as they are sent.

Whoever pulls so needs a token of this API, and neither a way to MLflow nor a key of the bucket where it keeps its files.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import tarfile
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.errors import Invalid, Unavailable
from service.gateway.registry import File, Registry, RegistryUnreachableError, Version
from trainer.checksums import CHECKSUMS
from trainer.spec import FieldError

BLOCK = tarfile.BLOCKSIZE
END = b"\0" * 2 * BLOCK
MOST, MOST_OF_ONE = 8, 3
"""Downloads at once: all, and one caller's. Each holds a thread while MLflow sends."""
LEAST_SECONDS, LEAST_RATE = 60.0, 64e3
"""How long one may take at most: so many seconds, and as long as its bytes take at so many a second."""
logger = logging.getLogger("agon.models")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


class Part(NamedTuple):
    """Bytes that are known, or a file."""

    size: int
    known: bytes = b""
    path: str = ""


class Package(NamedTuple):
    """A version, as it is sent."""

    version: Version
    parts: tuple[Part, ...]
    tag: str
    """Of its files, by name and size, and of the version: two that differ in these are not one download."""

    @property
    def size(self) -> int:
        """Bytes of the archive."""
        return sum(part.size for part in self.parts)

    def pieces(self, registry: Registry, begin: int, end: int) -> Generator[bytes, None, None]:
        """The bytes from `begin` up to `end`. Raises what the registry raises, also where a file is not as long as it was."""
        left = end - begin
        for part in self.parts:
            if begin >= part.size:
                begin -= part.size
                continue
            wanted = min(part.size - begin, left)
            yield from _of(self.version, part, registry, begin, wanted)
            begin, left = 0, left - wanted
            if not left:
                return


def pack(name: str, version: Version, files: Sequence[File]) -> Package:
    """The archive of these files in a folder `NAME-VERSION`, what proves them last. Raises Invalid for what is no package."""
    if not any(file.path == CHECKSUMS for file in files):
        message = f"version {version.version} of {name} has no {CHECKSUMS}: it was not published by Agon, or its upload broke off"
        raise Invalid([FieldError(path="version", message=message, fix="pull it from MLflow itself")])
    parts: list[Part] = []
    for file in sorted(files, key=lambda file: (file.path == CHECKSUMS, file.path)):
        if file.size < 0 or not all(_PART.fullmatch(part) for part in file.path.split("/")):
            raise Invalid([FieldError(path="version", message=f"has a file {file.path!r:.100}, which no package has")])
        member = tarfile.TarInfo(f"{name}-{version.version}/{file.path}")
        member.size, member.mode, member.mtime = file.size, 0o644, version.created // 1000
        header, padding = member.tobuf(tarfile.PAX_FORMAT), b"\0" * (-file.size % BLOCK)
        parts += [Part(len(header), header), Part(file.size, path=file.path), Part(len(padding), padding)]
    parts.append(Part(len(END), END))
    facts = repr((name, version.version, version.created, version.source, sorted(files, key=lambda file: file.path)))
    return Package(version, tuple(parts), hashlib.sha256(facts.encode()).hexdigest()[:32])


def _of(version: Version, part: Part, registry: Registry, begin: int, size: int) -> Iterator[bytes]:
    if not part.path:
        yield part.known[begin : begin + size]
        return
    if not size:
        return
    for piece in registry.read(version, part.path):
        rest = piece[begin : begin + size]
        begin = max(0, begin - len(piece))
        size -= len(rest)
        if rest:
            yield rest
        if not size:
            return
    raise RegistryUnreachableError(f"{part.path} is shorter than MLflow said")


class Downloads:
    """Those under way in this process. All methods belong to the event loop."""

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()

    def enter(self, caller: str) -> None:
        """Raises Unavailable with Retry-After."""
        if self._of.total() >= MOST or self._of[caller] >= MOST_OF_ONE:
            whose = "of yours" if self._of[caller] >= MOST_OF_ONE else "in all"
            message = f"{self._of[caller]} packages are sent to you now, {self._of.total()} in all: too many {whose}; try again"
            raise Unavailable(message, headers={"Retry-After": "5"})
        self._of[caller] += 1

    def leave(self, caller: str) -> None:
        """It is over."""
        self._of[caller] -= 1
        self._of += Counter()  # without those that have none


class Download(StreamingResponse):
    """An archive that is sent, and counted until it is, or isn't any more."""

    def __init__(
        self, downloads: Downloads, caller: str, pieces: Generator[bytes, None, None], size: int, **options: Any
    ) -> None:
        self._downloads, self._caller, self._pieces, self._size = downloads, caller, pieces, size
        super().__init__(pieces, **options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See StreamingResponse."""
        try:
            async with asyncio.timeout(LEAST_SECONDS + self._size / LEAST_RATE):
                await super().__call__(scope, receive, send)
        except TimeoutError:  # who reads nothing holds no place for ever; the rest comes by Range
            logger.info("a download was given up: its client is too slow")
        finally:
            self._downloads.leave(self._caller)
            await run_in_threadpool(self._pieces.close)
