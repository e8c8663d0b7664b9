"""Which sample when: DESIGN decision 4, as pure functions of integers.

Rows of the global batches are numbered through: batch t has the positions [t·B, (t+1)·B), and lane l owns the rows
[l·B/L, (l+1)·B/L) of each. Epoch e is the positions [e·N, (e+1)·N) for N samples; it may begin and end inside a batch.
In each epoch the samples are put in a row: the shards in a random order, each shard's samples in a random order. Lane 0
takes as many from the row's beginning as it has positions in this epoch, lane 1 the next, and so on, each in order. So

- an epoch holds each sample exactly once, over all lanes together;
- a lane reads its shards one after another, and lanes share a shard where there are few;
- position → sample needs no history and no knowledge of who owns which lane.

Random orders sort by SplitMix64 (Steele, Lea & Flood 2014), not by NumPy's generators, whose streams may change with
its version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
SUBSTITUTES = 64
"""Samples that are tried in place of an unreadable one."""


def key(*parts: object) -> int:
    """64-bit key of a purpose: the first 8 bytes of SHA-256 of the parts joined by `/`, little-endian."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8], "little")


def splitmix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output for each state x, modulo 2⁶⁴."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hashed(numbers: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """A hash of each number (≥ 0) under a 64-bit key."""
    return splitmix64(splitmix64(numbers.astype(np.uint64)) ^ np.array([seed], dtype=np.uint64))


def permutation(n: int, seed: int) -> Ints:
    """A permutation of range(n): the numbers sorted by their hash under the key."""
    return np.argsort(hashed(np.arange(n, dtype=np.int64), seed), kind="stable")


class Order:
    """The sample order of one training: a pure function of (digest, shard sizes, seed, lanes, batch).

    shards: samples of each shard, in the manifest's order; sample numbers count through them.
    Raises ValueError if `batch` is not a positive multiple of `lanes`, or a shard is empty.
    """

    def __init__(self, digest: str, shards: Sequence[int], seed: int, lanes: int, batch: int) -> None:
        if lanes < 1 or batch < 1 or batch % lanes:
            raise ValueError(f"batch ({batch}) must be a positive multiple of lanes ({lanes})")
        if not shards or min(shards) < 1:
            raise ValueError("every shard must hold a sample")
        self.lanes, self.batch = lanes, batch
        self.share = batch // lanes
        self.samples = sum(shards)
        self._name = (digest, seed)
        self._sizes = np.asarray(shards, dtype=np.int64)
        self._first = np.cumsum(self._sizes) - self._sizes
        self._layout = lru_cache(4)(self._layout_of)
        self._shard = lru_cache(2 * lanes + 8)(self._shard_order)

    def positions(self, t: int, lanes: range) -> Ints:
        """Positions of these (contiguous) lanes' rows of global batch t, lane-major."""
        return np.arange(lanes.start * self.share, lanes.stop * self.share, dtype=np.int64) + t * self.batch

    def at(self, positions: Ints) -> Ints:
        """The sample number at each position."""
        epochs = positions // self.samples
        found = np.empty_like(positions)
        for epoch in np.unique(epochs).tolist():
            rows = epochs == epoch
            found[rows] = self._in_epoch(epoch, positions[rows])
        return found

    def rows(self, t: int, lanes: range | None = None) -> Ints:
        """Sample numbers of global batch t, or of these lanes' rows of it, lane-major."""
        return self.at(self.positions(t, range(self.lanes) if lanes is None else lanes))

    def mirrored(self, positions: Ints) -> NDArray[np.bool_]:
        """Which positions are flipped: half of them."""
        return (hashed(positions, key("mirror", *self._name)) & np.uint64(1)).astype(np.bool_)

    def substitutes(self, position: int) -> Iterator[int]:
        """Samples to take, in this order, if the one at `position` can't be read.

        A function of the position alone, so every world size ends with the same sample as long as the same are bad.
        """
        tries = np.arange(SUBSTITUTES, dtype=np.int64) + position * SUBSTITUTES
        yield from (hashed(tries, key("substitute", *self._name)) % np.uint64(self.samples)).astype(np.int64).tolist()

    def _in_epoch(self, epoch: int, positions: Ints) -> Ints:
        start = epoch * self.samples
        lane = positions % self.batch // self.share
        section = self._before_lanes(start + self.samples, lane) - self._before_lanes(start, lane)
        place = section + self._in_lane(positions, lane) - self._in_lane(np.int64(start), lane)
        order, bounds = self._layout(epoch)
        slot = np.searchsorted(bounds, place, side="right")
        shards = order[slot]
        inside = place - bounds[slot] + self._sizes[shards]
        found = np.empty_like(place)
        for shard in np.unique(shards).tolist():
            rows = shards == shard
            found[rows] = self._first[shard] + self._shard(epoch, shard)[inside[rows]]
        return found

    def _in_lane(self, position: Ints | np.int64, lane: Ints) -> Ints:
        """How many of each lane's positions are smaller than `position`."""
        rest = np.clip(position % self.batch - lane * self.share, 0, self.share)
        counted: Ints = position // self.batch * self.share + rest
        return counted

    def _before_lanes(self, position: int, lane: Ints) -> Ints:
        """How many positions smaller than `position` belong to lanes before each lane."""
        rows = lane * self.share
        return position // self.batch * rows + np.minimum(position % self.batch, rows)

    def _layout_of(self, epoch: int) -> tuple[Ints, Ints]:
        """Shard numbers in the epoch's order, and where each ends in the row of samples."""
        order = permutation(len(self._sizes), key("shards", *self._name, epoch))
        return order, np.cumsum(self._sizes[order])

    def _shard_order(self, epoch: int, shard: int) -> NDArray[np.int32]:
        size = int(self._sizes[shard])
        return permutation(size, key("samples", *self._name, epoch, shard)).astype(np.int32)
