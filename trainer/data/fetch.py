"""Reads data where it lies: local folders, http(s), s3, gs, within bounds of time and size, and tries again. Torch-free."""

from __future__ import annotations

import asyncio
import logging
import math
import shlex
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from trainer.data import http
from trainer.data.faults import AwayError, FetchError, MissingError, UnusableError, is_past_end, of_bucket, of_local
from trainer.data.locate import BUCKETS, HTTP, Location
from trainer.errors import BadDataError, DataAwayError

T = TypeVar("T")
EXTRAS = {"s3": "s3", "gs": "gcs"}
"""Scheme → optional extra of this package that brings its client."""
DELAYS = (0.2, 0.8, 2.4)
"""Seconds between attempts; one attempt more than there are delays."""
CHUNK = 1 << 20
BLOCK = 8 << 20
"""Bytes that are asked of a bucket at once."""
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long a remote file may take. Local ones are read as the system gives them.

    rate: bytes/s that one attempt must keep up on average once `seconds` are over. None: `seconds` are all that there
    is, further attempts and the pauses before them included.
    """

    seconds: float = 60.0
    rate: float | None = 16384.0

    def allowed(self, received: int) -> float:
        """Seconds that an attempt may take before its next bytes, `received` of them being there."""
        return self.seconds + (received / self.rate if self.rate else 0.0)

    @property
    def end(self) -> float:
        """When (`time.monotonic`) all attempts that begin now must be over."""
        return math.inf if self.rate else time.monotonic() + self.seconds


PATIENT = Patience()
"""For those who wait for the data anyway: a server that lets bytes drip is given up, one that is merely slow isn't."""


def read_file(location: Location, name: str, limit: int, patience: Patience = PATIENT) -> bytes:
    """The whole of a small file, after as many tries as may help.

    Raises DataAwayError if it can't be reached, BadDataError if it is missing, forbidden or over `limit` bytes.
    """
    end = patience.end

    def attempt() -> bytes:
        try:
            return b"".join(chunks(location, name, limit + 1, patience, end))
        except (MissingError, UnusableError) as error:
            raise BadDataError(f"{location.describe(name)}: {error}; {_pack_first(location)}") from None

    content = retrying(attempt, location.describe(name), end)
    if len(content) > limit:
        raise BadDataError(f"{location.describe(name)}: is larger than {limit:,} bytes; this is no dataset.json")
    return content


def _pack_first(location: Location) -> str:
    """What to do where no dataset lies."""
    if location.path is not None and location.path.is_dir():
        return f"pack its images first: `agon data pack {shlex.quote(location.url)} OUT`, then give OUT"
    if location.path is not None and location.path.is_file():
        packing = f"`agon data pack {shlex.quote(location.url)} OUT`"
        return f"{location.path.name} is no packed dataset; pack it first: {packing}, then give OUT"
    if location.url.lower().endswith(ARCHIVES):
        return (
            "an archive is no packed dataset; fetch it, pack it with `agon data pack FILE OUT`, and give where OUT lies"
        )
    return "check the URL, or pack images with `agon data pack SOURCE OUT`"


def chunks(
    location: Location, name: str, limit: int, patience: Patience = PATIENT, end: float = math.inf
) -> Iterator[bytes]:
    """The file's bytes, at most `limit` of them. One attempt, over at `end` (`time.monotonic`) at the latest.

    Raises FetchError; BadDataError if the name leads out of the roots, or a client is missing.
    """
    local = location.local(name)
    source = _local(local) if local else _remote(location, name, limit, patience, end)
    left = limit
    for chunk in source:
        yield chunk[:left]
        left -= len(chunk)
        if left <= 0:
            source.close()
            return


def retrying(attempt: Callable[[], T], what: str, end: float = math.inf) -> T:
    """`attempt()`, repeated with growing delays while it raises a FetchError that may pass, until `end` at the latest.

    Raises DataAwayError or BadDataError that names `what` and the last reason.
    """
    for tries, delay in enumerate((*DELAYS, None), 1):
        try:
            return attempt()
        except FetchError as error:
            if not error.again:
                raise BadDataError(f"{what}: {error}") from None
            if delay is None or time.monotonic() + delay >= end:
                raise _given_up(error, what, tries) from None
            _log.info("%s: %s; another attempt in %.1f s", what, error, delay)
            time.sleep(delay)
    raise AssertionError("unreachable")


def _given_up(error: FetchError, what: str, tries: int) -> BadDataError | DataAwayError:
    after = f"after {tries} attempts" if tries > 1 else "at the first attempt"
    if isinstance(error, AwayError):
        return DataAwayError(f"{what}: {error}, {after}; try again once it can be reached")
    return BadDataError(f"{what}: {error}, {after}; check the file with `agon data check`")


def check_reach(location: Location, seconds: float) -> None:
    """Raise BadDataError if a location may not be read at all from here, as far as that can be told without reading."""
    if location.scheme not in HTTP:
        return

    async def look() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await http.check(http.host_of(location.url), location.access)

    try:
        _run(look())
    except FetchError as error:
        raise BadDataError(f"{location.url}: {error}") from None


def _local(path: Path) -> Generator[bytes, None, None]:
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                yield chunk
    except OSError as error:
        raise of_local(error) from error


def _remote(location: Location, name: str, limit: int, patience: Patience, end: float) -> Generator[bytes, None, None]:
    """Blocks of a remote file, each waited for as long as the patience says."""
    if location.scheme in HTTP:
        source = http.read(location.describe(name), location.access)
    else:
        source = _objects(_filesystem(location.scheme), location.describe(name), limit)
    began, received = time.monotonic(), 0
    try:
        while True:
            chunk = _run(_next(source, min(began + patience.allowed(received), end) - time.monotonic()))
            if not chunk:
                return
            received += len(chunk)
            yield chunk
    finally:
        with suppress(Exception):
            _run(_closed(source))


async def _next(source: AsyncGenerator[bytes, None], seconds: float) -> bytes:
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            return await anext(source, b"")
    except TimeoutError:
        raise AwayError("nothing came in time: the server is too slow, or away") from None


async def _closed(source: AsyncGenerator[bytes, None]) -> None:
    async with asyncio.timeout(2.0):
        await source.aclose()


def _run(step: Any) -> Any:
    """A coroutine's result, from fsspec's event loop."""
    from fsspec import asyn  # only remote data pays for the import

    future = asyncio.run_coroutine_threadsafe(step, asyn.get_loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()  # of an interrupt: whoever waited is gone
        raise


async def _objects(store: Any, url: str, limit: int) -> AsyncGenerator[bytes, None]:
    """An object of a bucket, in ranges. Its size is not asked for: that takes rights that reading doesn't."""
    for start in range(0, limit, BLOCK):
        end = min(limit, start + BLOCK)
        try:
            block = await store._cat_file(url, start=start, end=end)
        except Exception as error:  # clients raise their own types (botocore's, gcsfs's, aiohttp's)
            if start and is_past_end(error):
                return
            raise of_bucket(error) from None
        yield block
        if len(block) != end - start:
            return


@cache
def _filesystem(scheme: str) -> Any:
    import fsspec

    assert scheme in BUCKETS, scheme  # noqa: S101 — http is read by http.py
    try:
        return fsspec.filesystem(scheme)
    except ImportError as error:
        extra = EXTRAS[scheme]
        raise BadDataError(f"{scheme}:// needs a client that isn't installed; pip install 'agon[{extra}]'") from error
