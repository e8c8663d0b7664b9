"""What the commands read and write besides pictures: images to encode, and latents."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.data.archive import is_tar
from trainer.data.codec import BadImageError, decode
from trainer.data.contents import is_image
from trainer.data.files import Listing, Source
from trainer.data.folder import Folder
from trainer.data.locate import locate
from trainer.data.manifest import MANIFEST, manifest_at
from trainer.data.prepare import prepare
from trainer.data.reader import Reader
from trainer.data.shards import ShardStore
from trainer.data.source import open_source


@dataclass(frozen=True)
class Images:
    """Images as the model sees them, uint8 [n, H, W, C], and the files that they came from."""

    pixels: NDArray[np.uint8]
    names: list[str]
    notes: list[str]
    """What was done to them, for a person."""


def read_images(sources: Sequence[str], resolution: int, channels: int, most: int) -> Images:
    """At most `most` images of image files, folders, zips or `builtin:digits`; of more, evenly spaced ones. Or, given
    alone, of a packed dataset's folder or URL; of more, the first ones: its shards hold all classes mixed.

    Images of another size are cropped and resized as `agon data pack` does; packed ones have to be the model's size.
    Raises ValueError for a source that isn't there or holds no image, for a file that was named and can't be read, and
    for packed data of another size; BadDataError for one that is no source.
    """
    if any(_is_packed(source) for source in sources):
        if len(sources) > 1:
            raise ValueError(f"{', '.join(sources)}: packed data can't be mixed with others; give them alone")
        return _packed(sources[0], resolution, channels, most)
    files = [found for source in sources for found in _files(source)]
    if not files:
        raise ValueError(f"{', '.join(sources)}: no images there; give image files, or a folder or zip of them")
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, min(most, len(files))).round().astype(int)]
    pixels, names, adapted, unreadable = [], [], 0, []
    for source, name in chosen:
        try:
            image, changed = fitted(source.read(name), resolution, channels)
        except BadImageError as error:
            if isinstance(source, _One):
                raise ValueError(f"{source.root / name}: {error}; give a PNG or JPEG image, for example") from None
            unreadable.append(f"{name} {error}")
            continue
        pixels.append(image)
        names.append(name)
        adapted += changed
    if not pixels:
        raise ValueError(f"none of {len(chosen)} images can be read: {'; '.join(unreadable[:5])}")
    notes = (
        [f"{len(files):,} images are there; {len(chosen)} of them, evenly spaced, are used"]
        if len(files) > most
        else []
    )
    notes += [f"left out: {'; '.join(unreadable[:5])}"] if unreadable else []
    if adapted:
        size = _size(resolution, channels)
        notes.append(f"{adapted} of {len(pixels)} images were not {size} and were fitted as `agon data pack` does it")
    return Images(np.stack(pixels), names, notes)


class Latents(NamedTuple):
    """Latents of images, as a file holds them."""

    z: NDArray[np.float32]
    """[n, Z]."""
    labels: NDArray[np.int64] | None = None
    """[n]."""
    truncation: float | None = None
    """At which z were drawn: some models normalise by it, and else draw another picture of them."""


def save_latents(path: Path, latents: Latents, names: Sequence[str] = ()) -> None:
    """`.npz` with z and, where there are any, labels, truncation, and the images' file names [n]. No pickle."""
    z, labels, truncation = latents
    arrays: dict[str, Any] = {"z": z}
    if labels is not None:
        arrays["labels"] = labels
    if truncation is not None:
        arrays["truncation"] = np.float64(truncation)
    if names:
        arrays["names"] = np.array(names)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:  # np.savez would add .npz to another name
        np.savez(file, allow_pickle=False, **arrays)


def load_latents(path: Path) -> Latents:
    """What `save_latents` wrote, or z alone of an `.npy`. Raises ValueError for anything else."""
    try:
        found = np.load(path, allow_pickle=False)
        arrays = {"z": found} if isinstance(found, np.ndarray) else dict(found)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; give latents that --latents wrote") from None
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: is no .npz or .npy of numbers ({error}); give latents that --latents wrote"
        ) from None
    if "z" not in arrays:
        raise ValueError(f"{path}: holds {', '.join(arrays) or 'nothing'}, but no array z [n, Z]")
    truncation = arrays.get("truncation")
    if truncation is not None and (truncation.shape != () or truncation.dtype.kind not in "fiu"):
        raise ValueError(f"{path}: truncation is {truncation.dtype} {list(truncation.shape)}, and must be one number")
    return Latents(arrays["z"], arrays.get("labels"), None if truncation is None else float(truncation))


def _is_packed(text: str) -> bool:
    """Whether this names a packed dataset: by its URL, or by the `dataset.json` in the folder."""
    path = Path(text).expanduser()
    return "://" in text or path.name == MANIFEST or (path / MANIFEST).is_file()


def _packed(url: str, resolution: int, channels: int, most: int) -> Images:
    location = locate(url if "://" in url else str(Path(url).expanduser()))
    manifest = manifest_at(location)
    if (manifest.resolution, manifest.channels) != (resolution, channels):
        raise ValueError(
            f"{url}: is packed at {_size(manifest.resolution, manifest.channels)}, and the model takes "
            f"{_size(resolution, channels)}; give the images themselves, or pack them with --resolution {resolution} "
            f"--channels {channels}"
        )
    count = min(most, manifest.samples)
    with tempfile.TemporaryDirectory() as scratch:  # where remote shards are fetched to
        reader = Reader(ShardStore(location, manifest, Path(scratch)), skip=False, memory=0)
        pixels, _ = reader.read(np.arange(count), lambda row: ())
    names = [f"{manifest.name}#{number}" for number in range(count)]
    notes = [f"{manifest.samples:,} images are there; the first {count} are used"] if manifest.samples > count else []
    return Images(np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)), names, notes)


def _size(resolution: int, channels: int) -> str:
    return f"{resolution} × {resolution} {'grey' if channels == 1 else 'RGB'}"


class _One(Folder):
    """A single file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.parent)
        self.only = path.name

    def listing(self) -> Listing:
        """As in Source."""
        return Listing((self.only,))


def _files(text: str) -> list[tuple[Source, str]]:
    path = Path(text).expanduser()
    single = path.is_file() and not zipfile.is_zipfile(path) and not is_tar(path)
    source = _One(path) if single else open_source(text)
    return [(source, name) for name in source.names() if single or is_image(source, name)]


def fitted(encoded: bytes, resolution: int, channels: int) -> tuple[NDArray[np.uint8], bool]:
    """uint8 HWC, and whether the image had to be fitted."""
    try:
        return decode(encoded, resolution, channels).transpose(1, 2, 0), False
    except BadImageError:
        return decode(prepare(encoded, resolution, channels), resolution, channels).transpose(1, 2, 0), True
