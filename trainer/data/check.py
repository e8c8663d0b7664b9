"""Proves a dataset whole: every shard there, unaltered, readable, with the labels that the manifest counts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from trainer.access import Access
from trainer.data.census import Tally, remarks, see_pixels, unfit
from trainer.data.layout import imbalance
from trainer.data.locate import ANYWHERE, locate
from trainer.data.manifest import DatasetManifest, manifest_at
from trainer.data.reader import Reader
from trainer.data.shards import ShardStore
from trainer.errors import BadDataError
from trainer.schema import Frozen

CHUNK = 512


class Checked(Frozen):
    """What a check found. `problems` is empty for a whole dataset."""

    url: str
    manifest: DatasetManifest
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    """What a person should know before training on it."""

    @property
    def ok(self) -> bool:
        """Whether the dataset can be trained on."""
        return not self.problems


def check(
    url: str,
    access: Access = ANYWHERE,
    *,
    decode: bool = False,
    progress: Callable[[int, int], None] = lambda done, all: None,
) -> Checked:
    """Read every shard, whatever a cache may say, and compare it with the manifest; with `decode` decode every image and
    look for black, empty and equal ones.

    progress: called with shards done and shards in all. Remote shards pass through a temporary folder, one by one.
    Raises BadDataError if the manifest itself can't be read, DataAwayError if anything can't be reached.
    """
    location = locate(url, access)
    manifest = manifest_at(location)
    problems: list[str] = []
    counts = np.zeros(max(1, len(manifest.classes)), dtype=np.int64)
    tally = Tally(manifest.resolution, manifest.channels)
    first = 0
    for number, shard in enumerate(manifest.shards):
        with tempfile.TemporaryDirectory(prefix="agon-check-") as folder:
            store = ShardStore(location, manifest, Path(folder))
            try:
                counts += np.bincount(store.open(number).labels, minlength=len(counts))
                if decode:
                    _decode(store, first, shard.samples, tally)
            except BadDataError as error:
                problems.append(str(error))
        first += shard.samples
        progress(number + 1, len(manifest.shards))
    if not problems and manifest.classes and tuple(counts.tolist()) != manifest.class_counts:
        problems.append(f"{location.url}: the shards' labels don't add up to class_counts; pack the data again")
    return Checked(url=url, manifest=manifest, problems=tuple(problems), warnings=_warnings(manifest, tally))


def _warnings(manifest: DatasetManifest, tally: Tally) -> tuple[str, ...]:
    seen = remarks(tally.finish(), manifest.resolution) if len(tally.content) else []
    return (*imbalance(manifest.classes, manifest.class_counts), *seen, *unfit(manifest.resolution))


def _decode(store: ShardStore, first: int, samples: int, tally: Tally) -> None:
    """Decode a shard's images and look at each."""
    reader = Reader(store, skip=False, memory=0)
    for start in range(first, first + samples, CHUNK):
        numbers = np.arange(start, min(start + CHUNK, first + samples))
        images, labels = reader.read(numbers, lambda row: ())
        for number, image, label in zip(numbers, images, labels, strict=True):
            tally.add(f"sample {number}", int(label), see_pixels(image.transpose(1, 2, 0)))
