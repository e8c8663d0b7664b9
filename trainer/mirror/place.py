"""The object store: a prefix of a bucket (s3, gs), or a folder of this machine. Each call goes out, and may take long."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from trainer.data.fetch import EXTRAS
from trainer.mirror.files import is_safe

T = TypeVar("T")
PIECE = 8 << 20
"""Bytes that are read at once."""
OPTIONS: dict[str, dict[str, Any]] = {"s3": {"config_kwargs": {"connect_timeout": 10, "read_timeout": 60}}}
"""Of the clients: none waits for ever for a store that hangs."""
_URL = re.compile(r"^(?:(?:s3|gs)://[A-Za-z0-9][A-Za-z0-9._-]{1,220}(?:/[A-Za-z0-9._=-]+)*|(?:file://)?/.+)$")


class MirrorError(Exception):
    """The store didn't take or give it; what it said."""


class MissingError(MirrorError):
    """The store answered, and has no such file."""


def check_url(url: str) -> str:
    """The URL without a slash at its end. Raises ValueError for what can be none."""
    found = url.rstrip("/")
    if not _URL.match(found) or ".." in found.split("/"):
        raise ValueError(
            "is no place for copies; write s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, or a folder as an absolute path"
        )
    return found


class Place:
    """One per URL. Thread-safe. Keys are paths below it, with `/`. All methods raise MirrorError."""

    def __init__(self, url: str) -> None:
        """Raises ValueError for a URL that can be none, MirrorError where its client isn't installed."""
        self.url = check_url(url)
        scheme = self.url.partition("://")[0] if "://" in self.url else "file"
        self._root = self.url.partition("://")[2] if "://" in self.url else self.url
        import fsspec  # with the clients of buckets it takes a second

        try:
            # No listing is remembered: others write there, too.
            self._store: Any = fsspec.filesystem(
                scheme, use_listings_cache=False, skip_instance_cache=True, **OPTIONS.get(scheme, {})
            )
        except ImportError as error:
            extra = EXTRAS.get(scheme, scheme)
            raise MirrorError(
                f"{scheme}:// needs a client that isn't installed; pip install 'agon[{extra}]'"
            ) from error

    def put(self, path: Path, key: str) -> None:
        """Copy a file there, in place of what is there. FileNotFoundError is the file's, if it is gone."""
        target = f"{self._root}/{key}"
        with path.open("rb"):  # whose error that is must be clear
            pass
        self._ask(f"{key} can't be copied", self._put, str(path), target)

    def get(self, key: str, path: Path) -> None:
        """Copy what is there into a file, whose folder is there."""
        self._ask(f"{key} can't be brought back", self._store.get_file, f"{self._root}/{key}", str(path))

    def digest(self, key: str) -> str:
        """SHA-256 of what is there, read from there."""

        def read() -> str:
            found = hashlib.sha256()
            with self._store.open(f"{self._root}/{key}", "rb", block_size=PIECE) as file:
                while piece := file.read(PIECE):
                    found.update(piece)
            return found.hexdigest()

        return self._ask(f"{key} can't be read back", read)

    def sizes(self, prefix: str) -> dict[str, int]:
        """Bytes of all that is there below a prefix, by key below it."""
        root = f"{self._root}/{prefix}"

        def read() -> dict[str, int]:
            self._store.invalidate_cache()
            try:
                found = self._store.find(root, detail=True)
            except FileNotFoundError:
                found = {}
            if not found:
                self._store.ls(
                    self._root.partition("/")[0] if self._is_bucket else self._root
                )  # it is there, and empty
            cut = len(self._store._strip_protocol(root)) + 1
            return {name[cut:]: int(facts["size"]) for name, facts in found.items() if is_safe(name[cut:])}

        return self._ask(f"{prefix} can't be listed", read)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove them in this order; those that aren't there are."""

        def one(key: str) -> None:
            try:
                self._store.rm_file(f"{self._root}/{key}")
            except FileNotFoundError:
                return

        for key in keys:
            self._ask(f"{key} can't be removed", one, key)

    @property
    def _is_bucket(self) -> bool:
        return not self.url.startswith(("/", "file:"))

    def _put(self, source: str, target: str) -> None:
        if not self._is_bucket:
            if not Path(self._root).is_dir():  # a disk that isn't mounted
                raise FileNotFoundError(f"there is no folder {self._root}; make it, or mount what belongs there")
            Path(target).parent.mkdir(parents=True, exist_ok=True)
        self._store.put_file(source, target)

    def _ask(self, what: str, call: Callable[..., T], *args: Any) -> T:
        try:
            return call(*args)
        except Exception as error:  # clients raise their own types (botocore's, gcsfs's, aiohttp's), and OSError
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            kind = MissingError if isinstance(error, FileNotFoundError) else MirrorError
            raise kind(f"{self.url}/{what}: {reason:.300}") from error
