"""From shards to batches on the training thread: deterministic, decoded ahead, uint8 until the device.

Shape legend: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.access import Access
from trainer.data.locate import ANYWHERE, Location, OutsideError, locate
from trainer.data.manifest import DatasetManifest, manifest_at, mismatches
from trainer.data.order import Order
from trainer.data.reader import Reader
from trainer.data.sampling import NoClassError, WeightedOrder
from trainer.data.shards import ShardStore
from trainer.errors import BadDataError, BadSpecError, DataAwayError
from trainer.spec import JobSpec
from trainer.spec.sampling import class_weights

AHEAD = 2
"""Batches decoded ahead per thread."""
HORIZON = 64
"""Batches ahead of which remote shards are fetched."""


@dataclass(frozen=True)
class RealBatch:
    """One worker's share of a global batch, on the CPU, pinned when there is a GPU.

    images: uint8 BCHW. labels: int64 B; zeros where the data has none. index: number t of the global batch.
    replaced: rows whose sample could not be read, so that another stands in (`data.on_bad_shard: skip`).
    """

    images: Tensor
    labels: Tensor
    index: int
    replaced: int = 0


class Dataset:
    """A packed dataset, open for training and evaluation."""

    def __init__(self, location: Location, manifest: DatasetManifest, spec: JobSpec, cache_dir: Path) -> None:
        self.manifest = manifest
        self._data = spec.data
        self._store = ShardStore(location, manifest, cache_dir)
        self._reader = Reader(self._store, skip=spec.data.on_bad_shard == "skip")

    @property
    def skipped(self) -> dict[str, str]:
        """Unreadable shards (`name`) and samples (`name#number`) that were skipped so far → why."""
        return dict(self._reader.skipped)

    def stream(self, batch: int, seed: int, rank: int, world: int, start: int) -> Iterator[RealBatch]:
        """Rank `rank`'s rows of the global batches start, start + 1, … without end, in the order of `data.sampling`.

        batch: images of a global batch. Concatenated over the ranks, batch t is the same for every world size.
        The iterator raises BadDataError when it comes to data that can't be read, DataAwayError for data that can't be reached
        now; close it to stop its threads. Sampling by class must know every label, so it opens all shards here, and raises here.
        Raises ValueError if world doesn't divide the lanes, or the lanes don't divide the batch.
        """
        lanes = self._data.lanes
        if not 0 <= rank < world or lanes % world or start < 0:
            raise ValueError(f"rank {rank} of {world} with {lanes} lanes from batch {start}: is not possible")
        own = range(rank * lanes // world, (rank + 1) * lanes // world)
        return self._batches(self._order(seed, batch), own, start)

    @property
    def held_out(self) -> range:
        """Numbers of the samples that no stream yields: the last `data.held_out`."""
        return range(self.manifest.samples - self._data.held_out, self.manifest.samples)

    def images(self, indices: Sequence[int] | NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Images uint8 BCHW and labels int64 B of these sample numbers, 0 to manifest.samples - 1. Raises BadDataError."""
        samples = np.asarray(indices, dtype=np.int64)
        if samples.size and not 0 <= samples.min() <= samples.max() < self.manifest.samples:
            raise IndexError(f"sample numbers run from 0 to {self.manifest.samples - 1}")
        order = Order(self.manifest.digest, [shard.samples for shard in self.manifest.shards], 0, 1, 1)
        images, labels = self._reader.read(samples, lambda row: order.substitutes(int(samples[row])))
        return torch.from_numpy(images), torch.from_numpy(labels)

    def _order(self, seed: int, batch: int) -> Order:
        sizes = self._trained_on()
        if self._data.sampling == "natural":
            return Order(self.manifest.digest, sizes, seed, self._data.lanes, batch)
        weights = class_weights(self._data, self.manifest.classes)
        try:
            return WeightedOrder(
                self.manifest.digest, sizes, seed, self._data.lanes, batch, self._reader.labels(sizes), weights
            )
        except NoClassError as error:
            raise BadDataError(
                f"{self._store.location.url}: {error}; use another data.sampling or data.held_out"
            ) from error

    def _trained_on(self) -> list[int]:
        """Samples of each shard that are trained on; shards from which none is are left out, which are the last ones."""
        ends = np.cumsum([shard.samples for shard in self.manifest.shards])
        kept = np.minimum(ends, self.held_out.start)
        return [int(count) for count in np.diff(kept, prepend=0) if count]

    def _batches(self, order: Order, lanes: range, start: int) -> Iterator[RealBatch]:
        make = partial(self._make, order, lanes)
        if self._data.decode_threads == 0:
            while True:
                yield make(start)
                start += 1
        pool = ThreadPoolExecutor(self._data.decode_threads, "decode")
        fetcher = ThreadPoolExecutor(1, "fetch") if self._store.remote else None
        waiting: deque[Future[RealBatch]] = deque()
        try:
            for ahead in range(AHEAD * self._data.decode_threads):
                waiting.append(pool.submit(make, start + ahead))
            while True:
                ready = waiting.popleft().result()
                following = ready.index + AHEAD * self._data.decode_threads
                waiting.append(pool.submit(make, following))
                if fetcher:
                    fetcher.submit(self._fetch, order, lanes, following + HORIZON)
                yield ready
        finally:
            for executor in filter(None, (pool, fetcher)):
                executor.shutdown(wait=False, cancel_futures=True)

    def _make(self, order: Order, lanes: range, t: int) -> RealBatch:
        positions = order.positions(t, lanes)
        replaced: set[int] = set()

        def substitutes(row: int) -> Iterable[int]:
            replaced.add(row)
            return order.substitutes(int(positions[row]))

        images, labels = self._reader.read(order.at(positions), substitutes)
        if self._data.mirror:
            flipped = order.mirrored(positions)
            images[flipped] = images[flipped][..., ::-1]
        return RealBatch(_tensor(images), _tensor(labels), t, len(replaced))

    def _fetch(self, order: Order, lanes: range, t: int) -> None:
        for shard in self._reader.shards_of(order.rows(t, lanes)):
            try:
                self._store.open(shard)
            except (BadDataError, DataAwayError):
                continue  # bad ones are remembered, others tried again; raised or skipped when a batch needs it


def _tensor(array: NDArray[np.uint8] | NDArray[np.int64]) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.pin_memory() if torch.cuda.is_available() else tensor


def _allowed(url: str, access: Access) -> Location:
    """As `locate`. A job was let in with its data, so a root that is missing now is mended, and the job goes on."""
    try:
        return locate(url, access)
    except OutsideError as error:
        raise BadDataError(f"{error}; then let this job go on with `agon retry JOB`") from None


def open_dataset(
    spec: JobSpec, *, cache_dir: Path, access: Access = ANYWHERE, shard_cache: Path | None = None
) -> Dataset:
    """The spec's dataset, checked against the spec. `builtin:digits` is packed into `cache_dir` on first use.

    access: what its URL may lead to. shard_cache: where shards that must be fetched are kept, on this machine; None: in
    `cache_dir`. Shards that lie in a folder need no copy, and what was found out of them serves all who see that folder.
    Raises BadDataError if the manifest can't be read or has another digest than `data.digest`, DataAwayError if it can't be
    reached, BadSpecError if the arch doesn't fit it. Shards are read, and proven, when a batch first needs them.
    """
    if spec.data.url == "builtin:digits":
        from trainer.data.builtin import ensure_digits  # the packer, which other data doesn't need here

        location = locate(str(ensure_digits(cache_dir, spec.arch.resolution)))
    else:
        location = _allowed(spec.data.url, access)
    manifest = manifest_at(location)
    wrong = mismatches(manifest, spec)
    if wrong:
        lines = "; ".join(error.line() for error in wrong)
        raise (BadDataError if wrong[-1].path == "data.digest" else BadSpecError)(f"{spec.data.url}: {lines}")
    fetched = location.path is None
    return Dataset(location, manifest, spec, shard_cache if fetched and shard_cache is not None else cache_dir)
