"""Opens data where it lies: local folders, http(s), s3, gs. Torch-free.

Only these schemes are known, URLs are never expanded, rewritten or chained, and nothing here runs a shell.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from trainer.errors import BadDataError

T = TypeVar("T")
REMOTE = ("http", "https", "s3", "gs")
EXTRAS = {"s3": "s3", "gs": "gcs"}
"""Scheme → optional extra of this package that brings its client."""
DELAYS = (0.2, 0.8, 2.4)
"""Seconds between attempts; one attempt more than there are delays."""
CHUNK = 1 << 20
_log = logging.getLogger(__name__)


class FetchError(OSError):
    """One failed attempt to read; worth another."""


class MissingError(FetchError):
    """There is no such file."""


@dataclass(frozen=True)
class Location:
    """The folder of a dataset: local (`path`) or remote (`url` alone)."""

    url: str
    path: Path | None = None
    roots: tuple[Path, ...] = ()

    def local(self, name: str) -> Path | None:
        """The local file `name`, or None if the folder is remote. Raises BadDataError if it leads out of the roots."""
        if self.path is None:
            return None
        return _inside(self.path / name, self.roots)

    def describe(self, name: str) -> str:
        """`name` with its folder, for messages."""
        return f"{self.url}/{name}"


def locate(url: str, roots: Sequence[str | Path] = ()) -> Location:
    """The folder that `url` means: a path, file://, http(s)://, s3:// or gs://; a trailing `/dataset.json` is dropped.

    With `roots`, local paths must resolve, symlinks included, into one of them.
    Raises BadDataError for any other scheme, for chained URLs, queries, credentials in the URL, or a path outside.
    """
    if not url or "\0" in url or "::" in url:
        raise BadDataError(
            f"data.url {url!r}: is no plain path or URL; give a folder, or an http(s)://, s3:// or gs:// URL"
        )
    folder = url.removesuffix("/").removesuffix("/dataset.json")
    parts = urlsplit(folder)
    if parts.scheme in REMOTE:
        _check_remote(url, parts.query or parts.fragment, "@" in parts.netloc, parts.netloc)
        return Location(url=folder)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise BadDataError(f"data.url {url!r}: names host {parts.netloc!r}; write file:///absolute/path")
        return _local(Path(unquote(parts.path)), roots)
    if parts.scheme:
        known = ", ".join(("file", *REMOTE))
        raise BadDataError(f"data.url {url!r}: scheme {parts.scheme!r} is not allowed; use a path or one of {known}")
    return _local(Path(folder or "/"), roots)


def _check_remote(url: str, query: str, credentials: bool, host: str) -> None:
    if credentials:
        raise BadDataError("data.url: holds credentials; remove them and configure the client's own (AWS, GCS, netrc)")
    if query:
        raise BadDataError(
            f"data.url {url!r}: has a query or fragment; give the URL of the folder that holds dataset.json"
        )
    if not host:
        raise BadDataError(f"data.url {url!r}: names no host or bucket")


def _local(path: Path, roots: Sequence[str | Path]) -> Location:
    allowed = tuple(Path(root).resolve() for root in roots)
    resolved = _inside(path, allowed)
    return Location(url=str(resolved), path=resolved, roots=allowed)


def _inside(path: Path, roots: tuple[Path, ...]) -> Path:
    resolved = path.resolve()
    if roots and not any(resolved.is_relative_to(root) for root in roots):
        listed = ", ".join(map(str, roots))
        raise BadDataError(
            f"{path}: lies outside the allowed folders ({listed}); move the data there or extend AGON_DATA_ROOTS"
        )
    return resolved


def read_file(location: Location, name: str, limit: int) -> bytes:
    """The whole of a small file. Raises BadDataError after retries; at once if it is missing or over `limit` bytes."""

    def attempt() -> bytes:
        try:
            return b"".join(chunks(location, name, limit + 1))
        except MissingError as error:  # most likely a wrong URL: say so without delay
            fix = "check data.url, or pack images with `agon data pack SOURCE OUT`"
            raise BadDataError(f"{location.describe(name)}: is missing; {fix}") from error

    content = retrying(attempt, location.describe(name))
    if len(content) > limit:
        raise BadDataError(f"{location.describe(name)}: is larger than {limit:,} bytes; this is no dataset.json")
    return content


def chunks(location: Location, name: str, limit: int) -> Iterator[bytes]:
    """The file's bytes, at most `limit` of them. One attempt. Raises FetchError; BadDataError if a client is missing."""
    local = location.local(name)
    try:
        with local.open("rb") if local else _remote(location, name) as stream:
            left = limit
            while left > 0 and (chunk := stream.read(min(CHUNK, left))):
                left -= len(chunk)
                yield chunk
    except BadDataError:
        raise
    except FileNotFoundError as error:
        raise MissingError("is missing") from error
    except Exception as error:  # clients raise their own types (aiohttp, botocore, gcsfs)
        raise FetchError(f"can't be read ({type(error).__name__}: {error})") from error


def retrying(attempt: Callable[[], T], what: str) -> T:
    """`attempt()`, repeated with growing delays while it raises FetchError.

    Raises BadDataError that names `what` and the last reason.
    """
    for delay in (*DELAYS, None):
        try:
            return attempt()
        except FetchError as error:
            if delay is None:
                advice = "check that it exists and may be read, then `agon data check`"
                raise BadDataError(f"{what}: {error}, after {len(DELAYS) + 1} attempts; {advice}") from error
            _log.info("%s: %s; another attempt in %.1f s", what, error, delay)
            time.sleep(delay)
    raise AssertionError("unreachable")


def _remote(location: Location, name: str) -> Any:
    scheme = location.url.partition(":")[0]
    options = {} if scheme in EXTRAS else {"block_size": 0}  # one streamed GET, which any HTTP server can answer
    return _filesystem(scheme).open(f"{location.url}/{name}", "rb", **options)


@cache
def _filesystem(scheme: str) -> Any:
    import fsspec  # only remote data pays for the import

    if scheme not in EXTRAS:
        from aiohttp import ClientTimeout

        patience = ClientTimeout(total=None, sock_connect=10, sock_read=60)
        return fsspec.filesystem(scheme, client_kwargs={"timeout": patience}, skip_instance_cache=True)
    try:
        return fsspec.filesystem(scheme)
    except ImportError as error:
        extra = EXTRAS[scheme]
        raise BadDataError(f"{scheme}:// needs a client that isn't installed; pip install 'agon[{extra}]'") from error
