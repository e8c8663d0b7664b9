"""From a URL or path to where a dataset or a file lies. Torch-free.

Only these schemes are known, URLs are never expanded, rewritten or chained, and nothing here runs a shell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from trainer.access import Access
from trainer.errors import BadDataError

HTTP = ("http", "https")
BUCKETS = ("s3", "gs")
REMOTE = (*HTTP, *BUCKETS)
ANYWHERE = Access()
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,220}[A-Za-z0-9]")
"""Never an ARN: that would name an endpoint, and only the client's own configuration may."""


class OutsideError(BadDataError):
    """A local path that lies in none of the folders that may be read."""


@dataclass(frozen=True)
class Location:
    """The folder of a dataset: local (`path`) or remote (`url` alone, with its scheme in lower case)."""

    url: str
    path: Path | None = None
    roots: tuple[Path, ...] = ()
    access: Access = ANYWHERE

    @property
    def scheme(self) -> str:
        """`http`, `https`, `s3`, `gs`, or empty if it is local."""
        return "" if self.path is not None else self.url.partition(":")[0]

    def local(self, name: str) -> Path | None:
        """The local file `name`, or None if the folder is remote. Raises BadDataError if it leads out of the roots."""
        if self.path is None:
            return None
        return _inside(self.path / name, self.roots)

    def describe(self, name: str) -> str:
        """`name` with its folder, for messages."""
        return f"{self.url}/{name}"


def locate(url: str, access: Access = ANYWHERE, field: str = "data.url") -> Location:
    """The folder that `url` means: a path, file://, http(s)://, s3:// or gs://; a trailing `/dataset.json` is dropped.

    Local paths must resolve, symlinks included, into one of the access's roots, if it has any.
    Raises BadDataError, which names `field`, for any other scheme, for chained URLs, queries, credentials in the URL, or
    a path outside.
    """
    parts = _split(url, field)
    if parts.scheme in REMOTE:
        _check_remote(url, parts, field)
        whole = parts._replace(path=_folder(parts.path)).geturl()
        return Location(url=whole.removesuffix("/"), access=access)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise BadDataError(f"{field} {url!r}: names host {parts.netloc!r}; write file:///absolute/path")
        if parts.query or parts.fragment:
            raise BadDataError(f"{field} {url!r}: has a query or fragment; write ? as %3F and # as %23")
        return _local(Path(unquote(_folder(parts.path)) or "/"), access)
    if parts.scheme:
        known = ", ".join(("file", *REMOTE))
        raise BadDataError(f"{field} {url!r}: scheme {parts.scheme!r} is not allowed; use a path or one of {known}")
    return _local(Path(_folder(url) or "/"), access)


def locate_file(url: str, access: Access = ANYWHERE, field: str = "data.url") -> tuple[Location, str]:
    """The folder and the name of the one file that `url` means, by the rules of :func:`locate`. Raises BadDataError."""
    folder, _, name = url.rpartition("/")
    if not name:
        raise BadDataError(f"{field} {url!r}: names a folder; give a file")
    if (scheme := _split(url, field).scheme) == "file":
        if "?" in name or "#" in name:
            raise BadDataError(f"{field} {url!r}: has a query or fragment; write ? as %3F and # as %23")
        name = unquote(name)
    elif scheme:
        _check_remote(url, _split(url, field), field)
    location = locate(folder or ("/" if url.startswith("/") else "."), access, field)
    location.local(name)  # the name itself may lead elsewhere: a link, or %2F
    return location, name


def _folder(path: str) -> str:
    return path.removesuffix("/").removesuffix("/dataset.json")


def _split(url: str, field: str) -> SplitResult:
    """The URL's parts, its scheme in lower case. Raises BadDataError for what can't be taken apart, or means two things."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise BadDataError(f"{field} {url!r}: is no valid URL ({error})") from None
    chained = "::" in (url.replace(parts.netloc, "", 1) if parts.scheme in HTTP else url)
    odd = parts.scheme in REMOTE and (
        not url.isprintable() or any(letter.isspace() or letter == "\\" for letter in url)
    )
    if not url or "\0" in url or chained or odd:
        raise BadDataError(
            f"{field} {url!r}: is no plain path or URL; give a folder, or an http(s)://, s3:// or gs:// URL"
        )
    return parts


def _check_remote(url: str, parts: SplitResult, field: str) -> None:
    if "@" in parts.netloc:
        raise BadDataError(f"{field}: holds credentials; remove them and configure the client's own (AWS, GCS, netrc)")
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise BadDataError(
            f"{field} {url!r}: has a query or fragment; give the URL of the folder that holds dataset.json"
        )
    if not parts.hostname:
        raise BadDataError(f"{field} {url!r}: names no host or bucket")
    if parts.scheme in BUCKETS and not _BUCKET.fullmatch(parts.netloc):
        raise BadDataError(f"{field} {url!r}: {parts.netloc!r} is no bucket's name")


def _local(path: Path, access: Access) -> Location:
    allowed = tuple(Path(root).resolve() for root in access.roots)
    resolved = _inside(path, allowed)
    return Location(url=str(resolved), path=resolved, roots=allowed, access=access)


def _inside(path: Path, roots: Sequence[Path]) -> Path:
    try:
        resolved = path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # too long, links in a circle, or NUL (%00 of a URL)
        raise BadDataError(f"{str(path)[:200]}: is no usable path ({type(error).__name__}); give another") from None
    if roots and not any(resolved.is_relative_to(root) for root in roots):
        listed = ", ".join(map(str, roots))
        raise OutsideError(
            f"{path}: lies outside the allowed folders ({listed}); move the data there, or allow another folder: "
            "`agon up --data-root DIR` for a stack on this machine, AGON_DATA_ROOTS for another API"
        )
    return resolved
