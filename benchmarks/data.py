"""Images a second of the lane stream, of a plain torch DataLoader over the same images as a folder of files, and of plain webdataset.

    python -m benchmarks.data --data DIR     DIR holds mnist-png.zip and cifar10-jpg.zip; also $AGON_BENCH_DATA

All three read the same PNG bytes, decode them with Pillow and give shuffled uint8 BCHW batches and labels, each with one
thread or one worker process for it, or none. The methods take turns, so that a busy machine slows all alike; figures are
medians. What comes before a loader's first batches (worker start, index) is not counted for anyone.
"""

from __future__ import annotations

import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from benchmarks.common import Report, arguments
from trainer.data import reader
from trainer.data.manifest import DatasetManifest, read_manifest
from trainer.data.pack import Options, pack
from trainer.data.stream import AHEAD, open_dataset
from trainer.families.table import recipes
from trainer.spec import with_overrides

BATCH = 64
WARM_UP = 8
SETS = {"MNIST": "mnist-png.zip", "CIFAR-10": "cifar10-jpg.zip"}
Batches = Iterator[Any]
FIRST, LATER, FOLDER, WDS = (
    "lanes, first epoch",
    "lanes, later epochs",
    "folder + DataLoader",
    "webdataset + DataLoader",
)


def decoded(file: Any, mode: str) -> torch.Tensor:
    """uint8 CHW, as torchvision's ImageFolder and PILToTensor do it."""
    array = np.asarray(Image.open(file).convert(mode))
    return torch.from_numpy(array.reshape(*array.shape[:2], -1).transpose(2, 0, 1).copy())


class Files(TorchDataset[tuple[torch.Tensor, int]]):
    """One file an image, in class folders."""

    def __init__(self, root: Path, mode: str) -> None:
        self.mode = mode
        self.files = [(str(path), int(path.parent.name)) for path in sorted(root.glob("*/*.png"))]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        path, label = self.files[number]
        with open(path, "rb") as file:  # noqa: PTH123 — as ImageFolder does
            return decoded(file, self.mode), label


class Bench:
    """One dataset, ready to be read in every way."""

    def __init__(self, shards: Path, work: Path, seed: int) -> None:
        self.shards, self.work, self.seed = shards, work, seed
        self.manifest: DatasetManifest = read_manifest(str(shards))
        self.mode = "L" if self.manifest.channels == 1 else "RGB"
        self.folder = work / "files"
        self._extract()

    def _extract(self) -> None:
        """The shards' own images as files, so that everybody decodes the same bytes."""
        for label in range(max(1, len(self.manifest.classes))):
            (self.folder / str(label)).mkdir(parents=True)
        for shard in self.manifest.shards:
            with tarfile.open(self.shards / shard.name) as tar:
                label = b"0"
                for member in tar:
                    content = tar.extractfile(member).read()  # type: ignore[union-attr]
                    if member.name.endswith(".cls"):
                        label = content
                    else:
                        (self.folder / label.decode() / member.name).write_bytes(content)

    def lanes(self, threads: int, count: int, later: bool) -> Batches:
        """The lane stream in its first epoch, or in a later one."""
        m = self.manifest
        spec = with_overrides(
            recipes()["dcgan-digits"](),
            [f"data.url={self.shards}", f"arch.resolution={m.resolution}", f"arch.channels={m.channels}",
             f"arch.classes={len(m.classes)}", f"data.decode_threads={threads}", "data.lanes=8"],
        )  # fmt: skip
        dataset = open_dataset(spec, cache_dir=self.work / "cache")
        if later:  # as in every epoch but the first, each image was seen before
            seen = dataset.stream(BATCH, self.seed, 0, 1, 0)
            for _ in islice(seen, WARM_UP + count + AHEAD * threads):
                pass
            seen.close()  # type: ignore[attr-defined]
        yield from dataset.stream(BATCH, self.seed, 0, 1, 0)

    def files(self, workers: int) -> Batches:
        """ImageFolder's way."""
        yield from DataLoader(Files(self.folder, self.mode), BATCH, shuffle=True, num_workers=workers, drop_last=True)

    def webdataset(self, workers: int) -> Batches:
        """The library's own pipeline with its usual shuffle buffer."""
        from io import BytesIO

        urls = [str(self.shards / shard.name) for shard in self.manifest.shards]
        pipeline = (
            webdataset.WebDataset(urls, shardshuffle=len(urls), seed=self.seed)
            .shuffle(1000)
            .to_tuple("png", "cls")
            .map_tuple(lambda png: decoded(BytesIO(png), self.mode), int)
            .batched(BATCH, partial=False)
        )
        yield from DataLoader(pipeline, batch_size=None, num_workers=workers)


def rate(batches: Batches, count: int) -> float:
    """Images a second over `count` batches after the warm-up."""
    for _ in islice(batches, WARM_UP):
        pass
    begin, images = time.perf_counter(), 0
    for batch in islice(batches, count):
        images += len(batch.images if hasattr(batch, "images") else batch[0])
    seconds = time.perf_counter() - begin
    batches.close()  # type: ignore[attr-defined]
    return images / seconds


def measure(name: str, bench: Bench, report: Report, repeats: int, limit: int) -> None:
    """All methods in turns, for one thread or process and for none."""
    count = min(limit, bench.manifest.samples // BATCH - WARM_UP - 4)
    for helpers in (1, 0):
        methods: dict[str, Callable[[], Batches]] = {
            FIRST: lambda n=helpers: bench.lanes(n, count, False),  # type: ignore[misc]
            LATER: lambda n=helpers: bench.lanes(n, count, True),  # type: ignore[misc]
            FOLDER: lambda n=helpers: bench.files(n),  # type: ignore[misc]
            WDS: lambda n=helpers: bench.webdataset(n),  # type: ignore[misc]
        }
        rates: dict[str, list[float]] = {method: [] for method in methods}
        for _ in range(repeats):
            for method, batches in methods.items():
                rates[method].append(rate(batches(), count))
        medians = {method: statistics.median(values) for method, values in rates.items()}
        for method, values in rates.items():
            report.row(
                data=name, method=method, helpers=helpers, images_per_second=round(medians[method]),
                slowest=round(min(values)), fastest=round(max(values)), repeats=repeats, batches=count,
                over_folder=round(medians[method] / medians[FOLDER], 2),
            )  # fmt: skip
        if helpers:
            targets(name, rates, report)


def targets(name: str, rates: dict[str, list[float]], report: Report) -> None:
    """Medians of the ratios within a repeat."""
    for lanes in (FIRST, LATER):
        for other, bound in ((FOLDER, 2.0), (WDS, 1.0)):
            ratio = statistics.median(a / b for a, b in zip(rates[lanes], rates[other], strict=True))
            report.at_least(f"{name}: {lanes} / {other}", bound, measured=round(ratio, 2), unit="×")


def sources(data: Path | None) -> dict[str, str]:
    """Name → source to pack; the digits if there is nothing else."""
    found = {name: str(data / file) for name, file in SETS.items() if data and (data / file).is_file()}
    return found or {"digits": "builtin:digits"}


def main() -> int:
    """Run it."""
    parser = arguments("data", "Images a second of the lane stream against a folder loader and plain webdataset.")
    default = os.environ.get("AGON_BENCH_DATA")
    parser.add_argument(
        "--data", type=Path, default=Path(default) if default else None,
        help=f"folder with {' and '.join(SETS.values())} (default: $AGON_BENCH_DATA; without it the digits)",
    )  # fmt: skip
    parser.add_argument("--repeats", type=int, default=None, help="turns of each method (default: 5, quick: 2)")
    options = parser.parse_args()
    found = sources(options.data)
    options.quick = options.quick or "digits" in found  # the digits' figures never replace those that are quoted
    report = Report("data", options)
    torch.set_num_threads(1)
    if "digits" in found:
        report.note("MNIST and CIFAR-10 were not given (--data): measured on scikit-learn's 1797 digits")
    report.note(f"batch {BATCH}; helpers: decode threads of the lane stream, worker processes of the others")
    report.note(f"later epochs come from memory: decoded images are kept up to {reader.MEMORY >> 20} MiB")
    for name, source in found.items():
        with tempfile.TemporaryDirectory(prefix="agon-bench-") as folder:
            work = Path(folder)
            split = None if name == "digits" else "train"
            shards = work / "shards"
            begin = time.perf_counter()
            pack(source, shards, Options(split=split))
            bench = Bench(shards, work, options.seed)
            report.note(f"{name}: {bench.manifest.samples:,} images packed in {time.perf_counter() - begin:.0f} s")
            measure(name, bench, report, options.repeats or (2 if options.quick else 5), 40 if options.quick else 100)
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
