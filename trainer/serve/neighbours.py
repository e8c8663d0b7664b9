"""The nearest training images, by pixels: of at most so many of them, which stay in memory.

Shape legend: n queries, m images looked at, k neighbours, H height, W width, C channels.
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from trainer.access import Access
from trainer.data.locate import REMOTE
from trainer.data.manifest import DatasetManifest
from trainer.data.stream import open_dataset
from trainer.errors import BadDataError, BadSpecError, DataAwayError
from trainer.serve.refusals import RefusedError, wrong
from trainer.serve.wire import Reason, ServeArguments
from trainer.spec import JobSpec

MOST = 20_000
"""Training images that are looked at."""
FETCHED = 1 << 30
"""Bytes of shards that are fetched for them, about, where the data lie elsewhere."""
BLOCK = 32 << 20
"""Bytes of the images that are compared at once."""
AWAY_SECONDS = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Searched:
    """Training images that are looked at, of `total`: uint8 [m, H, W, C], their numbers in the data and labels int64 [m]."""

    images: NDArray[np.uint8]
    numbers: NDArray[np.int64]
    labels: NDArray[np.int64]
    total: int
    classes: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return self.images.nbytes + self.numbers.nbytes + self.labels.nbytes


class Found(NamedTuple):
    """Places among the images looked at, the nearest first, and distances: [n, k]."""

    places: NDArray[np.int64]
    distances: NDArray[np.float64]


def open_images(spec: JobSpec, digest: str | None, args: ServeArguments) -> Searched:
    """Evenly spaced images that the model was trained on. digest: of the data, where it is known.

    Takes seconds. Raises RefusedError if the data can't be read, are away, or are others by now.
    """
    if digest is not None:
        spec = spec.replace(data=spec.data.replace(digest=digest))
    access = Access(args.data_roots, args.private_hosts)
    try:
        with tempfile.TemporaryDirectory(prefix="agon-data-") as scratch:
            dataset = open_dataset(spec, cache_dir=Path(scratch), access=access)
            numbers = _spaced(dataset.manifest, dataset.held_out.start, _most(spec, args), spec.data.url)
            images = np.empty((len(numbers), *(spec.arch.resolution,) * 2, spec.arch.channels), np.uint8)
            labels = np.empty(len(numbers), np.int64)
            for at in range(0, len(numbers), 256):
                some, theirs = dataset.images(numbers[at : at + 256])
                images[at : at + 256], labels[at : at + 256] = some.permute(0, 2, 3, 1).numpy(), theirs.numpy()
            return Searched(images, numbers, labels, dataset.held_out.start, dataset.manifest.classes)
    except DataAwayError as error:
        _log.warning("data of neighbours: %s", error)
        message = "the training images can't be reached now; ask again"
        raise RefusedError(Reason.AWAY, message, after=AWAY_SECONDS) from error
    except (BadDataError, BadSpecError, OSError) as error:
        _log.warning("data of neighbours: %s", error)
        raise wrong("model", f"its training images can't be read here: {str(error)[:300]}") from error


def nearest(queries: NDArray[np.uint8], searched: Searched, k: int) -> Found:
    """The k nearest of the images looked at. Distance: root mean square difference of pixels in [0, 1], so 0 is a copy.

    queries: uint8 [n, H, W, C]. Squares are summed exactly; of equals the first comes first.
    """
    query = queries.reshape(len(queries), -1).astype(np.float64)
    k, size = min(k, len(searched.images)), query.shape[1]
    best, places = np.empty((len(query), 0)), np.empty((len(query), 0), np.int64)
    step = max(1, BLOCK // (8 * size))
    own = (query**2).sum(axis=1)[:, None]
    for at in range(0, len(searched.images), step):
        block = searched.images[at : at + step].reshape(-1, size).astype(np.float64)
        squared = own + (block**2).sum(axis=1) - 2.0 * (query @ block.T)
        best = np.concatenate([best, squared], axis=1)
        places = np.concatenate([places, np.broadcast_to(np.arange(at, at + len(block)), squared.shape)], axis=1)
        order = np.argsort(best, axis=1, kind="stable")[:, :k]
        best, places = np.take_along_axis(best, order, axis=1), np.take_along_axis(places, order, axis=1)
    return Found(places, np.sqrt(np.maximum(best, 0.0) / size) / 255.0)


def _most(spec: JobSpec, args: ServeArguments) -> int:
    """Images that are kept: no more than a quarter of the memory for models."""
    size: int = spec.arch.resolution**2 * spec.arch.channels
    return max(1, min(MOST, args.memory // 4 // size))


def _spaced(manifest: DatasetManifest, end: int, most: int, url: str) -> NDArray[np.int64]:
    """Numbers of evenly spaced samples below `end`; of remote data, from evenly spaced shards."""
    sizes = np.array([shard.samples for shard in manifest.shards])
    firsts = np.cumsum(sizes) - sizes
    shards = np.arange(len(sizes))
    if urlsplit(url).scheme.lower() in REMOTE:
        each = np.mean([shard.size for shard in manifest.shards])
        shards = shards[_even(len(shards), max(1, int(FETCHED // each)))]
    there = np.concatenate([np.arange(firsts[number], firsts[number] + sizes[number]) for number in shards])
    there = there[there < end]
    return there[_even(len(there), most)].astype(np.int64)


def _even(count: int, most: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def told(found: Found, searched: Searched) -> dict[str, Any]:
    """For JSON: of each query its neighbours, and how many images were looked at."""
    named = searched.classes
    queries = [
        [
            {
                "number": int(searched.numbers[place]),
                "distance": float(distance),
                **({"label": int(searched.labels[place])} if named else {}),
            }
            for place, distance in zip(places, distances, strict=True)
        ]
        for places, distances in zip(found.places.tolist(), found.distances.tolist(), strict=True)
    ]
    return {"neighbours": queries, "searched": len(searched.images), "of": searched.total}
