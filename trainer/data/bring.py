"""From images, wherever they came from, to a packed dataset that fits a spec: what `agon submit RECIPE --data SOURCE` does first.

ROOT/photos-64px/            the dataset
ROOT/photos-64px/from.json   which source it was packed from, so that the same one is not packed twice
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainer.data.codec import BadImageError
from trainer.data.contents import sort_out
from trainer.data.layout import arrange
from trainer.data.manifest import DatasetManifest, read_manifest
from trainer.data.pack import PROBES, Options, Packed, Progress, pack
from trainer.data.prepare import probe
from trainer.data.source import open_source
from trainer.data.writer import PACKING
from trainer.errors import BadDataError
from trainer.schema import Frozen

FROM = "from.json"
TRAIN = "train"
ENDINGS = re.compile(r"(\.tar)?\.(zip|tar|tgz|tbz2?|txz|gz|bz2|xz)$", re.IGNORECASE)
NAME = 40
"""Letters of a source's name that a dataset's keeps."""


class Brought(Frozen):
    """A dataset that is packed and ready."""

    path: str
    name: str
    """The folder's name, which is also good for a registered dataset."""
    manifest: DatasetManifest
    layout: str
    read_as: str
    notes: tuple[str, ...]
    """What was decided, for a person."""


@dataclass(frozen=True)
class Wanted:
    """What the spec can take.

    sizes: resolutions that its family has nets of. preferred: the one that it has now. resolution, channels: given by a
    person, so not to be chosen here.
    """

    sizes: tuple[int, ...]
    preferred: int
    resolution: int | None = None
    channels: Literal[1, 3] | None = None
    option: str = "--set arch.resolution=N"
    """How a person gives the resolution."""


@dataclass(frozen=True)
class Looked:
    """What some of a source's images are, before any is packed."""

    splits: tuple[str, ...]
    sides: tuple[int, ...]
    """Shorter sides in pixels, ascending."""


def bring(
    source: str, root: Path, wanted: Wanted, progress: Progress, packed: Callable[[Packed], None] = lambda _: None
) -> Brought:
    """Pack a folder, zip, tar or `builtin:digits` into a folder below `root`, unless that was done before.

    packed: called with what was packed. Raises BadDataError as `pack` does, and if there are several splits without a `train`.
    """
    looked = look(source)
    split, notes = _split(looked.splits, source)
    resolution, why = choose(looked.sides, wanted)
    notes += [why] if why else []
    key = _key(source, split, resolution, wanted.channels)
    out = _place(root, slug(source), resolution, key)
    if _key_of(out) == key:
        notes.append(f"{source} has not changed since it was packed into {out}; it is not packed again")
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        options = Options(resolution=resolution, channels=wanted.channels, split=split, name=out.name)
        packed(pack(source, out, options, progress)[0])
        _write(out / FROM, {"source": _absolute(source), "key": key})
    how = json.loads((out / PACKING).read_text("utf-8"))
    return Brought(
        path=str(out), name=out.name, manifest=read_manifest(str(out)), layout=how["layout"], read_as=how["read_as"],
        notes=tuple(notes),
    )  # fmt: skip


def look(source: str) -> Looked:
    """The splits, and the sizes of some images. Raises BadDataError if there are none, or none that can be read."""
    opened = open_source(source)
    with closing(opened):
        contents = sort_out(opened)
        with closing(contents.source):
            splits = arrange(contents).splits
            files = [file for entries in splits.values() for file, _ in entries]
            sides = []
            for file in files[:: max(1, len(files) // PROBES)]:
                try:
                    sides.append(probe(contents.source.read(file))[0])
                except BadImageError:
                    continue
    if not sides:
        raise BadDataError(
            f"{source}: none of the images that were looked at can be read; try `agon data pack` for reasons"
        )
    return Looked(tuple(splits), tuple(sorted(sides)))


def choose(sides: Sequence[int], wanted: Wanted) -> tuple[int, str]:
    """The resolution to pack with, and why, if it isn't plain. sides: shorter sides of images in pixels, ascending.

    The images' own, where all have one that the family has nets of. Else the spec's, if most images have as much; else the
    largest that most have, or the family's smallest.
    """
    least, middle, most = sides[0], sides[len(sides) // 2], sides[-1]
    if wanted.resolution is not None:
        return wanted.resolution, ""
    if least == most and least in wanted.sizes:
        return least, ""
    fitting = [size for size in wanted.sizes if size <= middle]
    if not fitting:
        chosen, why = min(wanted.sizes), "the smallest that the family has nets of"
    elif wanted.preferred <= middle:
        chosen, why = wanted.preferred, "as the spec has it"
    else:
        chosen, why = max(fitting), "the largest that enlarges few"
    seen = f"{least} px" if least == most else f"{least} to {most} px"
    others = f"{wanted.option} for another: {', '.join(map(str, wanted.sizes))}"
    return chosen, f"images of {seen} become {chosen} px, {why} ({others})"


def default_root() -> Path:
    """`$AGON_HOME/data`, where jobs of the local stack may read."""
    return Path(os.environ.get("AGON_HOME") or "~/.agon").expanduser().absolute() / "data"


def slug(source: str) -> str:
    """A dataset's name from a source's: small letters, digits, dots and dashes."""
    name = ENDINGS.sub("", Path(source.removeprefix("builtin:")).expanduser().absolute().name.lower())
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-")[:NAME].strip("-") or "images"


def _split(splits: Sequence[str], source: str) -> tuple[str | None, list[str]]:
    if len(splits) < 2:
        return None, []
    if TRAIN not in splits:
        raise BadDataError(
            f"{source}: has several splits ({', '.join(splits)}) and none called train; give the folder of one, or pack it with "
            "`agon data pack SOURCE OUT --split NAME` and give OUT"
        )
    others = ", ".join(name for name in splits if name != TRAIN)
    return TRAIN, [f"of the splits, train is taken; {others} stays aside"]


def _key(source: str, split: str | None, resolution: int, channels: int | None) -> str:
    """Of a source as it is now, and how it is packed. Of files, names, sizes and times of change stand for what is in them."""
    facts = [_absolute(source), split, resolution, channels, list(_files(Path(source).expanduser()))]
    return hashlib.sha256(json.dumps(facts, ensure_ascii=True).encode()).hexdigest()


def _files(path: Path) -> Sequence[tuple[str, int, int]]:
    if not path.is_dir():
        paths = [path] if path.exists() else []
    else:
        paths = [Path(folder) / name for folder, _, names in os.walk(path) for name in names]
    found = []
    for each in sorted(paths):
        facts = each.stat(follow_symlinks=False)
        found.append((os.fsencode(each).hex(), facts.st_size, facts.st_mtime_ns))
    return found


def _place(root: Path, name: str, resolution: int, key: str) -> Path:
    """The folder of that key: a plain name if it is free or its own, else one with a piece of the key."""
    plain = root / f"{name}-{resolution}px"
    return plain if not plain.exists() or _key_of(plain) == key else root / f"{plain.name}-{key[:8]}"


def _key_of(out: Path) -> str | None:
    try:
        return str(json.loads((out / FROM).read_text("utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _absolute(source: str) -> str:
    return source if source.startswith("builtin:") else str(Path(source).expanduser().absolute())


def _write(path: Path, content: dict[str, str]) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    aside.replace(path)
