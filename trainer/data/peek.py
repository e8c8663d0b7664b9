"""A few images of each class, from the heads of some shards: what a dataset looks like, without reading it. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from trainer.data.codec import BadImageError, decode
from trainer.data.fetch import Patience, chunks, retrying
from trainer.data.index import BadShardError, index_head
from trainer.data.locate import Location
from trainer.data.manifest import DatasetManifest, Shard
from trainer.errors import BadDataError

T = TypeVar("T")
SHARDS = 8
"""So many are opened at most, spread over the dataset: one that is sorted has few classes in each."""
HEAD = 1 << 20
"""Bytes that are read of each; more for images that are larger than an eighth of it."""
LARGEST, MOST = 16 << 20, 64 << 20
"""Bytes of one head at most, and of all."""


def peek(
    location: Location,
    manifest: DatasetManifest,
    each: int,
    rows: int,
    patience: Patience,
    make: Callable[[NDArray[np.uint8]], T],
) -> list[list[T]]:
    """Of each of the first `rows` classes up to `each` images, those that are met, as `make` makes them of uint8 [channels, resolution,
    resolution]: one at a time, for a small file may hold a large image.

    Without classes: one list of up to `each` images. At most `SHARDS` heads of `MOST` bytes together are read, fewer once every class
    has its images.
    Raises DataAwayError, BadDataError for a shard that can't be read, or isn't what the manifest says.
    """
    classes = len(manifest.classes)
    wanted = [each] * min(rows, classes) if classes else [each]
    found: list[list[T]] = [[] for _ in wanted]
    head = min(LARGEST, max(HEAD, 8 * manifest.resolution**2 * manifest.channels))
    for shard in _spread(manifest.shards, min(SHARDS, MOST // head)):
        content = _head(location, shard, min(head, shard.size), patience)
        try:
            for offset, size, label in index_head(content, classes):
                if label < len(found) and len(found[label]) < each:
                    image = decode(content[offset : offset + size], manifest.resolution, manifest.channels)
                    found[label].append(make(image))
        except (BadShardError, BadImageError) as error:
            raise BadDataError(f"{location.describe(shard.name)}: {error}") from None
        if all(len(some) == each for some in found):
            break
    return found


def _spread(shards: Sequence[Shard], count: int) -> Sequence[Shard]:
    count = min(count, len(shards))
    return [shards[index * len(shards) // count] for index in range(count)]


def _head(location: Location, shard: Shard, size: int, patience: Patience) -> bytes:
    end = patience.end
    what = f"shard {location.describe(shard.name)}"
    return retrying(lambda: b"".join(chunks(location, shard.name, size, patience, end)), what, end)
