"""Samples by number: shard, bytes, decoded image; what has been decoded stays in memory while it fits.

Shape legend: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from trainer.data.codec import BadImageError, decode
from trainer.data.order import Ints
from trainer.data.sampling import UNKNOWN
from trainer.data.shards import OpenShard, ShardStore
from trainer.errors import BadDataError

MEMORY = 512 << 20
"""Bytes of decoded images a process keeps. Datasets that fit whole are decoded once; of larger ones nothing is kept."""
_log = logging.getLogger(__name__)


class Reader:
    """Random access to decoded images. Thread-safe.

    skip: whether unreadable samples are replaced rather than raised.
    """

    def __init__(self, store: ShardStore, *, skip: bool, memory: int = MEMORY) -> None:
        manifest = store.manifest
        self.store, self.skip = store, skip
        self.skipped: dict[str, str] = {}
        """Shard (or shard and sample) → why it was skipped."""
        self._image = (manifest.channels, manifest.resolution, manifest.resolution)
        sizes = np.array([shard.samples for shard in manifest.shards], dtype=np.int64)
        self._ends = np.cumsum(sizes)
        self._firsts = self._ends - sizes
        self._guard = Lock()
        fits = manifest.samples * (int(np.prod(self._image)) + 9) <= memory
        self._kept = _Kept(manifest.samples, self._image) if fits else None

    def read(
        self, samples: Ints, substitutes: Callable[[int], Iterable[int]]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Images uint8 BCHW and labels int64 B of the sample numbers.

        substitutes: row → sample numbers to take instead, in order. Called only if that row's sample is unreadable and `skip`.
        Raises BadDataError, with the shard's name.
        """
        images = np.empty((len(samples), *self._image), dtype=np.uint8)
        labels = np.empty(len(samples), dtype=np.int64)
        missing = self._kept.take(samples, images, labels) if self._kept else range(len(samples))
        for row in missing:
            images[row], labels[row] = self._one(int(samples[row]), row, substitutes)
        return images, labels

    def labels(self, sizes: Sequence[int]) -> Ints:
        """Labels int64 of the first `sizes[i]` samples of each shard i; opens them all. UNKNOWN for those of a shard that can't
        be read, if `skip`; else raises BadDataError, with its name."""
        found = []
        for number, size in enumerate(sizes):
            try:
                found.append(self._opened(number).labels[:size])
            except BadDataError:
                if not self.skip:
                    raise
                found.append(np.full(size, UNKNOWN, dtype=np.int64))
        return np.concatenate(found)

    def shards_of(self, samples: Ints) -> list[int]:
        """Numbers of the shards that hold these samples."""
        numbers: list[int] = np.unique(np.searchsorted(self._ends, samples, side="right")).tolist()
        return numbers

    def _one(self, sample: int, row: int, substitutes: Callable[[int], Iterable[int]]) -> tuple[NDArray[np.uint8], int]:
        try:
            return self._decoded(sample)
        except BadDataError as error:
            if not self.skip:
                raise
            last = error
        for candidate in substitutes(row):
            try:
                return self._decoded(candidate)
            except BadDataError as error:
                last = error
        raise BadDataError(f"too much of the data is unreadable to go on skipping; last: {last}") from last

    def _decoded(self, sample: int) -> tuple[NDArray[np.uint8], int]:
        number = int(np.searchsorted(self._ends, sample, side="right"))
        inside = sample - int(self._firsts[number])
        shard = self._opened(number)
        image, label = self._decode(shard, inside), int(shard.labels[inside])
        if self._kept:
            self._kept.keep(sample, image, label)
        return image, label

    def _opened(self, number: int) -> OpenShard:
        try:
            return self.store.open(number)
        except BadDataError as error:
            self._count(self.store.manifest.shards[number].name, str(error))
            raise

    def _decode(self, shard: OpenShard, inside: int) -> NDArray[np.uint8]:
        channels, resolution, _ = self._image
        try:
            return decode(shard.read(inside), resolution, channels)
        except BadImageError as error:
            where = f"shard {shard.name} of {self.store.location.url}: sample {inside}"
            self._count(f"{shard.name}#{inside}", str(error))
            raise BadDataError(f"{where} {error}; pack the data again") from error

    def _count(self, what: str, why: str) -> None:
        with self._guard:
            if self.skip and what not in self.skipped:
                self.skipped[what] = why
                _log.warning("skipped: %s", why)


class _Kept:
    """Decoded images by sample number. Pages are only claimed from the system as they are filled."""

    def __init__(self, samples: int, image: tuple[int, int, int]) -> None:
        self._images = np.empty((samples, *image), dtype=np.uint8)
        self._labels = np.empty(samples, dtype=np.int64)
        self._there = np.zeros(samples, dtype=np.bool_)

    def take(self, samples: Ints, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> list[int]:
        """Copy what is there into the outputs; the rows of the rest."""
        there = self._there[samples]
        if there.all():
            np.take(self._images, samples, axis=0, out=images, mode="clip")
            np.take(self._labels, samples, out=labels, mode="clip")
            return []
        images[there], labels[there] = self._images[samples[there]], self._labels[samples[there]]
        rows: list[int] = np.flatnonzero(~there).tolist()
        return rows

    def keep(self, sample: int, image: NDArray[np.uint8], label: int) -> None:
        """Store one; marked as there only once it is whole."""
        self._images[sample], self._labels[sample] = image, label
        self._there[sample] = True
