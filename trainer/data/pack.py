"""Images → WebDataset shards with a manifest: in parallel, reproducible byte for byte, never half finished."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainer.data.codec import BadImageError
from trainer.data.layout import Layout, arrange, imbalance
from trainer.data.manifest import DatasetManifest
from trainer.data.order import key, permutation
from trainer.data.prepare import prepare_all, probe
from trainer.data.source import Source, open_source
from trainer.data.writer import ShardWriter, install, refuse_unless_free
from trainer.errors import BadDataError
from trainer.schema import Frozen

CHUNK = 128
"""Images a worker process takes at once."""
SERIAL = 16 * CHUNK
"""Up to so many images, starting worker processes takes longer than doing it here."""
PROBES = 64
Progress = Callable[[int, int], None]
"""Called with images done and images in all."""


@dataclass(frozen=True)
class Options:
    """How to pack. None means: as the images are."""

    resolution: int | None = None
    channels: Literal[1, 3] | None = None
    shard_size: int = 64 << 20
    """Bytes; a shard is closed when it reaches this."""
    split: str | None = None
    max_corrupt: float = 0.01
    """Largest share of images that may be unreadable."""
    workers: int = 0
    """Processes; 0 means one a core."""
    force: bool = False
    name: str | None = None


class Corrupt(Frozen):
    """An image that was skipped."""

    file: str
    reason: str


class Packed(Frozen):
    """One packed split."""

    path: str
    split: str
    """Empty if the source has no splits."""
    written: bool
    """False if the same dataset was there already."""
    manifest: DatasetManifest
    corrupt: tuple[Corrupt, ...]
    warnings: tuple[str, ...]


def pack(
    source: str, out: Path, options: Options | None = None, progress: Progress = lambda done, total: None
) -> list[Packed]:
    """Pack a folder, a zip or `builtin:digits` into `out`, or into `out/<split>` for each split.

    Raises BadDataError if there are no images, too many are corrupt, or `out` holds something else.
    """
    options = options or Options()
    opened = open_source(source)
    layout = arrange(opened.names())
    splits = _chosen(layout, options.split)
    resolution, channels = _format(opened, layout, options)
    total, done = sum(map(len, splits.values())), 0
    packed = []
    for split, entries in splits.items():
        target = out / split if split and options.split is None else out
        finished = done

        def tell(count: int, before: int = finished) -> None:
            progress(before + count, total)

        packed.append(_pack_split(opened, layout, split, entries, target, resolution, channels, options, tell))
        done += len(entries)
    return packed


def _pack_split(
    source: Source, layout: Layout, split: str, entries: list[tuple[str, int]], out: Path,
    resolution: int, channels: Literal[1, 3], options: Options, tell: Callable[[int], None],
) -> Packed:  # fmt: skip
    name = options.name or (f"{source.name}-{split}" if split else source.name)
    refuse_unless_free(out, options.force, resolution=resolution, channels=channels, classes=layout.classes)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.packing-", dir=out.parent) as folder:
        writer = ShardWriter(Path(folder), options.shard_size)
        corrupt: list[Corrupt] = []
        shuffled = [
            entries[i] for i in permutation(len(entries), key("pack", len(entries)))
        ]  # each shard mixes classes
        images = _prepared(source, [file for file, _ in shuffled], resolution, channels, options.workers)
        for count, ((file, label), image) in enumerate(zip(shuffled, images, strict=True), start=1):
            if isinstance(image, bytes):
                writer.add(image, label)
            else:
                corrupt.append(Corrupt(file=file, reason=image))
                _check_corrupt(corrupt, len(entries), options.max_corrupt)
            tell(count)
        manifest = writer.finish(name, resolution, channels, layout.classes)
        written = install(Path(folder), out, manifest, options.force)
    corrupt.sort(key=lambda item: item.file)
    warnings = (*layout.warnings, *imbalance(manifest.classes, manifest.class_counts))
    return Packed(
        path=str(out), split=split, written=written, manifest=manifest, corrupt=tuple(corrupt), warnings=warnings
    )


def _prepared(source: Source, files: list[str], resolution: int, channels: int, workers: int) -> Iterator[bytes | str]:
    """The PNG of each file, or why there is none, in the files' order whatever the number of workers."""
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    workers = min(workers or _cores(), len(chunks))
    if workers == 1 or len(files) <= SERIAL:
        for chunk in chunks:
            yield from prepare_all(source, chunk, resolution, channels)
        return
    context = multiprocessing.get_context("spawn")  # forking a process that has threads (torch, Ray) can hang
    pool = ProcessPoolExecutor(workers, context)
    waiting: deque[Future[list[bytes | str]]] = deque()
    try:
        for chunk in chunks:
            waiting.append(pool.submit(prepare_all, source, chunk, resolution, channels))
            if len(waiting) > 4 * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _chosen(layout: Layout, split: str | None) -> dict[str, list[tuple[str, int]]]:
    if split is None:
        return layout.splits
    if split not in layout.splits:
        there = ", ".join(filter(None, layout.splits)) or "none"
        raise BadDataError(f"--split {split!r}: the source has no such split; splits: {there}")
    return {split: layout.splits[split]}


def _format(source: Source, layout: Layout, options: Options) -> tuple[int, Literal[1, 3]]:
    """Resolution and channels: as asked for, else as some of the images are."""
    if options.resolution and options.channels:
        return options.resolution, options.channels
    entries = [file for split in layout.splits.values() for file, _ in split]
    found = []
    for file in entries[:: max(1, len(entries) // PROBES)]:
        try:
            found.append(probe(source.read(file)))
        except BadImageError:
            continue
    if not found:
        raise BadDataError(
            f"none of {min(PROBES, len(entries))} images that were looked at can be read; is this image data?"
        )
    sides = Counter(side for side, _ in found)
    if options.resolution is None and len(sides) > 1:
        raise BadDataError(f"images differ in size ({min(sides)} to {max(sides)} px); choose one with --resolution")
    return options.resolution or next(iter(sides)), options.channels or (1 if all(grey for _, grey in found) else 3)


def _check_corrupt(corrupt: list[Corrupt], total: int, limit: float) -> None:
    if len(corrupt) > limit * total:
        listed = "; ".join(f"{item.file} {item.reason}" for item in corrupt[:5])
        raise BadDataError(
            f"{len(corrupt):,} of {total:,} images are corrupt, more than --max-corrupt {limit:g} allows: {listed}; repair or "
            "remove them, or raise the limit"
        )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
