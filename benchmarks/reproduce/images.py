"""Image sets in splits, packed as jobs and evaluations read them.

A source holds `train/<class>/<number>.<png or jpg>` and `test/<class>/<number>.<…>`. MNIST's papers train on 50,000 images,
choose by 10,000 others and report on the test set: there, numbers from 50,000 on in `train/` are the validation split.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from trainer.data.manifest import MANIFEST, read_manifest
from trainer.data.pack import Options, pack
from trainer.data.source import open_source
from trainer.data.stream import open_dataset
from trainer.evaluate.files import replace_atomically
from trainer.families.arch import Arch
from trainer.spec import JobSpec


class NoImages(Exception):  # noqa: N818 — reads as what it is
    """The images are not there, or not as they have to be; the message says what is wanted."""


@dataclass(frozen=True)
class ImageSet:
    """What a user brings. name: of the option (`--mnist`), in capitals of the variable ($MNIST), and of the packed folders.

    default: where it is looked for. wanted: what it has to be. validation_from: numbers in `train/` from which on images
    are the validation split; None: there is no such split.
    """

    name: str
    default: Path
    wanted: str
    validation_from: int | None = None

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of its splits."""
        return ("train", "test") if self.validation_from is None else ("train", "valid", "test")

    def find(self, given: str | None) -> str:
        """`given`, else the variable's path, else the default. Raises NoImages, which says what to give."""
        variable = self.name.upper()
        source = given or os.environ.get(variable) or str(self.default)
        if not Path(source).expanduser().exists():
            raise NoImages(
                f"{source} is not there: give {variable} as {self.wanted} with --{self.name} (make: {variable}=…), or put "
                f"it at {self.default}"
            )
        return source

    def split_of(self, name: str) -> tuple[str, str, str] | None:
        """(split, class, file name) of a path in the source; None for what is no image of train/ or test/."""
        parts = PurePosixPath(name).parts[-3:]
        if len(parts) < 3 or parts[0] not in ("train", "test") or not PurePosixPath(parts[2]).stem.isdigit():
            return None
        late = self.validation_from is not None and int(PurePosixPath(parts[2]).stem) >= self.validation_from
        return ("valid" if late and parts[0] == "train" else parts[0]), parts[1], parts[2]


MNIST = ImageSet(
    "mnist",
    Path("data/mnist-png.zip"),
    "a zip or folder with train/<class>/<number>.png and test/<class>/<number>.png (28 px, grey; numbers from 50000 on in "
    "train/ are the validation split)",
    validation_from=50_000,
)
CIFAR10 = ImageSet(
    "cifar10",
    Path("data/cifar10-jpg.zip"),
    "a zip or folder with train/<class>/<number>.jpg and test/<class>/<number>.jpg (or .png; 32 px, RGB)",
)
SETS = (MNIST, CIFAR10)


class Splits:
    """The splits of an image set below `folder`, packed on first use, each at every resolution and number of channels once."""

    def __init__(self, images: ImageSet, source: str, folder: Path) -> None:
        self.set, self.source, self.folder = images, source, folder

    def url(self, split: str, arch: Arch) -> str:
        """Folder of the packed split as `arch` takes it. Raises NoImages."""
        target = self.folder / f"{self.set.name}-{arch.resolution}x{arch.channels}"
        if not all((target / name / MANIFEST).is_file() for name in self.set.splits):
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / "packing.lock"):
                if not all((target / name / MANIFEST).is_file() for name in self.set.splits):
                    self._pack(target, arch)
        return str((target / split).absolute())

    def images(self, split: str, arch: Arch) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """All images [N, H, W, C] of a split and their labels [N], as `arch` takes them."""
        return _load(self.url(split, arch), arch.resolution, arch.channels)

    def digest(self, split: str, arch: Arch) -> str:
        """The packed split's digest."""
        return read_manifest(self.url(split, arch)).digest

    def remembered(self, name: str, arch: Arch, make: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Figures that depend on the images alone (baselines): made once for these splits, kept beside the shards."""
        digests = "-".join(self.digest(split, arch)[:16] for split in self.set.splits)
        path = self.folder / "baselines" / f"{name}-{digests}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.exists():
                found = make()
                with replace_atomically(path) as aside:
                    aside.write_text(json.dumps(found))
        values: dict[str, float] = json.loads(path.read_text())
        return values

    def _pack(self, target: Path, arch: Arch) -> None:
        opened = open_source(self.source)
        found: dict[str, list[tuple[str, str]]] = {name: [] for name in self.set.splits}
        for name in opened.names():
            if place := self.set.split_of(name):
                found[place[0]].append((name, f"{place[1]}/{place[2]}"))
        if missing := [name for name, entries in found.items() if not entries]:
            raise NoImages(f"{self.source} holds no images for {', '.join(missing)}: it has to be {self.set.wanted}")
        for split, entries in found.items():
            shutil.rmtree(target / split, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
                archive = Path(scratch) / f"{self.set.name}-{split}.zip"
                with zipfile.ZipFile(archive, "w") as zipped:
                    for name, inner in entries:
                        zipped.writestr(zipfile.ZipInfo(inner), opened.read(name))
                pack(str(archive), target / split, Options(resolution=arch.resolution, channels=arch.channels))


@cache
def _load(url: str, resolution: int, channels: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    from trainer.families.table import recipes

    with tempfile.TemporaryDirectory() as scratch:
        dataset = open_dataset(_reading(recipes()["gan-digits"](), url, resolution, channels), cache_dir=Path(scratch))
        count = dataset.manifest.samples
        parts = [dataset.images(chunk) for chunk in np.array_split(np.arange(count), -(-count // 1000))]
    images = np.concatenate([images.permute(0, 2, 3, 1).numpy() for images, _ in parts])
    return images, np.concatenate([labels.numpy() for _, labels in parts])


def _reading(spec: JobSpec, url: str, resolution: int, channels: int) -> JobSpec:
    """A spec that does nothing but open these images."""
    arch = spec.arch.replace(resolution=resolution, channels=channels, classes=0)
    return spec.replace(arch=arch, data=spec.data.replace(url=url, digest=None))
