"""Writes PNGs and labels as WebDataset tars and, last, `dataset.json`."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

from trainer.data.manifest import MANIFEST, DatasetManifest, Shard, dataset_digest, read_manifest
from trainer.errors import BadDataError

PACKING = "packing.json"
"""Beside the manifest: how the images were read, what was left out and why. For people; no training reads it."""


class ShardWriter:
    """Appends samples to tars of about `shard_size` bytes in `folder`. The bytes depend on the samples alone."""

    def __init__(self, folder: Path, shard_size: int) -> None:
        self._folder, self._shard_size = folder, shard_size
        self._shards: list[Shard] = []
        self._labels: Counter[int] = Counter()
        self._total = 0
        self._file: BinaryIO | None = None
        self._tar: Any = None
        self._in_shard = 0

    def add(self, png: bytes, label: int) -> None:
        """The next sample; label -1 for none."""
        if self._file is None:
            self._begin()
        sample = {"__key__": f"{self._total:09d}", "png": png} | ({"cls": str(label).encode()} if label >= 0 else {})
        self._tar.write(sample)
        self._labels[label] += 1
        self._total += 1
        self._in_shard += 1
        if self._tar.stream.tell() >= self._shard_size:
            self._end()

    def finish(self, name: str, resolution: int, channels: int, classes: tuple[str, ...]) -> DatasetManifest:
        """Close the last shard and write the manifest."""
        self._end()
        counts = tuple(self._labels[number] for number in range(len(classes)))
        manifest = DatasetManifest.model_validate(
            {
                "name": name,
                "resolution": resolution,
                "channels": channels,
                "classes": classes,
                "class_counts": counts,
                "samples": self._total,
                "shards": tuple(self._shards),
                "digest": dataset_digest(resolution, channels, classes, counts, self._shards),
            }
        )
        (self._folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
        return manifest

    def close(self) -> None:
        """Give up what was begun; nothing is left to do after `finish`."""
        if self._file is not None:
            self._tar.close()
            self._file.close()
            self._file = None

    def _begin(self) -> None:
        import webdataset  # pulls in torch: only who writes pays for it

        self._file = (self._folder / f"shard-{len(self._shards):06d}.tar").open("wb")
        self._tar = webdataset.TarWriter(self._file, encoder=False, mtime=0, user="agon", group="agon")

    def _end(self) -> None:
        if self._file is None:
            return
        self._tar.close()
        self._file.close()
        path = Path(self._file.name)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._shards.append(Shard(name=path.name, samples=self._in_shard, size=path.stat().st_size, sha256=digest))
        self._file, self._in_shard = None, 0


def refuse_unless_free(out: Path, force: bool, **facts: object) -> None:
    """Raises BadDataError if `out` holds what packing must not replace.

    A dataset with the same `facts` may turn out to be the same, so it is let through here; `install` decides.
    """
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / MANIFEST).exists():
        raise BadDataError(f"{out}: is not empty and holds no dataset; give a new folder")
    if force:
        return
    if not _readable(out):
        raise BadDataError(f"{out}: holds a damaged dataset; give another folder, or --force to replace it")
    there = read_manifest(str(out))
    for name, value in facts.items():
        if getattr(there, name) != value:
            raise BadDataError(
                f"{out}: holds another dataset ({name} {getattr(there, name)!r}, not {value!r}); give another folder, or --force "
                "to replace it"
            )


def install(packed: Path, out: Path, manifest: DatasetManifest, force: bool) -> bool:
    """Move a finished dataset to `out`, its manifest last. False if the same dataset is there already.

    Raises BadDataError if another one is there and not `force`.
    """
    if (out / MANIFEST).exists():
        there = None if force and not _readable(out) else read_manifest(str(out))
        if there is not None and there.digest == manifest.digest and all((out / s.name).exists() for s in there.shards):
            return False
        if not force:
            raise BadDataError(f"{out}: holds another dataset; give another folder, or --force to replace it")
        (out / MANIFEST).unlink()
        (out / PACKING).unlink(missing_ok=True)
        for old in out.glob("shard-*.tar"):
            old.unlink()
    out.mkdir(parents=True, exist_ok=True)
    for shard in manifest.shards:
        shutil.move(packed / shard.name, out / shard.name)
    if (packed / PACKING).exists():
        shutil.move(packed / PACKING, out / PACKING)
    shutil.move(packed / MANIFEST, out / MANIFEST)
    return True


def _readable(out: Path) -> bool:
    try:
        read_manifest(str(out))
    except BadDataError:
        return False
    return True
