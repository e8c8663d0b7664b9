"""Shards on this machine: fetched if remote, proven by SHA-256, indexed, open for random reads.

    cache_dir/shards/<sha256>.tar          remote shards, by content; the least recently used go when the disk fills up
    cache_dir/index/<sha256>-<file>.npy    index of a shard whose hash was proven; `<file>` identifies path, size, time

Every file appears by a rename, so processes that share a cache never see half of one. A lock per shard keeps the
processes of a node from fetching the same shard twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from trainer.data.faults import FetchError, of_local
from trainer.data.fetch import chunks, retrying
from trainer.data.index import COLUMNS, BadShardError, build_index
from trainer.data.locate import Location
from trainer.data.manifest import DatasetManifest, Shard
from trainer.errors import BadDataError

OPEN_SHARDS = 512
RESERVE = 1 << 30
"""Bytes kept free on the cache's disk."""
_log = logging.getLogger(__name__)


class OpenShard:
    """A verified shard. `labels` is int64 [samples]."""

    def __init__(self, name: str, path: Path, index: NDArray[np.int64]) -> None:
        self.name = name
        self.labels = index[:, 2]
        self._index = index
        self._file = path.open("rb", buffering=0)

    def read(self, sample: int) -> bytes:
        """The encoded image. A file that shrank since it was verified gives fewer bytes, never a crash."""
        offset, size, _ = self._index[sample].tolist()
        return os.pread(self._file.fileno(), size, offset)


class ShardStore:
    """All shards of a dataset, opened on first use. Thread-safe; processes may share `cache_dir`."""

    def __init__(self, location: Location, manifest: DatasetManifest, cache_dir: Path) -> None:
        self.location, self.manifest, self.cache_dir = location, manifest, cache_dir
        self.bad: dict[str, str] = {}
        """Shard name → why it can't be used."""
        self._open: OrderedDict[int, OpenShard] = OrderedDict()
        self._locks: defaultdict[int, Lock] = defaultdict(Lock)
        self._guard = Lock()

    @property
    def remote(self) -> bool:
        """Whether shards must be fetched."""
        return self.location.path is None

    def open(self, number: int) -> OpenShard:
        """The shard. Raises BadDataError, with its name, if it is missing or forbidden, or stays truncated or altered after
        some tries; DataAwayError if whoever has it stays away, which is not held against it."""
        with self._guard:
            if (shard := self._open.get(number)) is not None:
                self._open.move_to_end(number)
                return shard
            lock = self._locks[number]
        with lock:
            if (shard := self._open.get(number)) is not None:
                return shard
            shard = self._open_new(self.manifest.shards[number])
            with self._guard:
                self._open[number] = shard
                if len(self._open) > OPEN_SHARDS:
                    self._open.popitem(last=False)
            return shard

    def _open_new(self, shard: Shard) -> OpenShard:
        if shard.name in self.bad:
            raise BadDataError(self.bad[shard.name])
        what = f"shard {shard.name} of {self.location.url}"
        try:
            return retrying(lambda: self._verified(shard), what)
        except BadDataError as error:
            self.bad[shard.name] = str(error)
            raise

    def _verified(self, shard: Shard) -> OpenShard:
        """The shard, open. Raises FetchError if this attempt failed; another process may evict a fetched shard until
        it is open."""
        path = self.location.local(shard.name)
        try:
            path = path or self._fetched(shard)
            return OpenShard(shard.name, path, self._proven_index(path, shard))
        except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
            raise FetchError(f"can't be opened ({error.strerror})") if self.remote else of_local(error) from error
        except BadShardError as error:
            if self.remote and path is not None:
                path.unlink(missing_ok=True)
            raise FetchError(str(error)) from error

    def _proven_index(self, path: Path, shard: Shard) -> NDArray[np.int64]:
        facts = path.stat()
        identity = f"{path}/{facts.st_size}/{facts.st_mtime_ns}/{len(self.manifest.classes)}"
        file = hashlib.sha256(identity.encode()).hexdigest()[:16]
        proof = self.cache_dir / "index" / f"{shard.sha256}-{file}.npy"
        with suppress(OSError, ValueError, EOFError):
            index: NDArray[np.int64] = np.load(proof, allow_pickle=False)
            if index.shape == (shard.samples, len(COLUMNS)) and index.dtype == np.int64:
                return index
        verify(path, shard)
        index = build_index(path, len(self.manifest.classes))
        if len(index) != shard.samples:
            raise BadShardError(f"holds {len(index):,} samples; the manifest says {shard.samples:,}")
        with suppress(OSError):  # a full or read-only cache costs the next process a second look, no more
            _save(proof, index)
        return index

    def _fetched(self, shard: Shard) -> Path:
        """The shard's file in the cache, fetched if need be."""
        folder = self.cache_dir / "shards"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{shard.sha256}.tar"
        with locked(path.with_suffix(".lock")):
            if path.exists():
                os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))  # used now: evicted last
                return path
            make_room(folder, shard.size)
            part = path.with_suffix(".part")  # under the lock, so it is ours; a dead process's is overwritten
            with part.open("wb") as out:
                for chunk in chunks(self.location, shard.name, shard.size + 1):
                    out.write(chunk)
            part.replace(path)
        return path


def verify(path: Path, shard: Shard) -> None:
    """Raises BadShardError unless the file has the manifest's size and SHA-256."""
    size = path.stat().st_size
    if size != shard.size:
        raise BadShardError(f"has {size:,} bytes; the manifest says {shard.size:,} (truncated or altered)")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != shard.sha256:
        raise BadShardError(f"has SHA-256 {digest[:12]}…; the manifest says {shard.sha256[:12]}… (altered)")


def make_room(folder: Path, size: int) -> None:
    """Delete the least recently used shards until `size` bytes fit beside the reserve, or none is left."""
    if shutil.disk_usage(folder).free >= size + RESERVE:
        return
    for path in sorted(folder.glob("*.tar"), key=_last_used):
        if shutil.disk_usage(folder).free >= size + RESERVE:
            return
        _log.info("cache: the disk is nearly full; removing %s", path.name)
        path.unlink(missing_ok=True)  # who has it open keeps reading it


def _last_used(path: Path) -> int:
    try:
        return path.stat().st_atime_ns
    except FileNotFoundError:  # another process made room at the same time
        return 0


def _save(path: Path, index: NDArray[np.int64]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}-{id(index)}.part")
    try:
        with part.open("wb") as out:
            np.save(out, index, allow_pickle=False)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an advisory lock on `path` against other threads and processes of this node."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
