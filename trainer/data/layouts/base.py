"""What a reader of a layout gets and gives. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath

SPLITS = frozenset({"train", "test", "val", "valid", "validation"})


@dataclass(frozen=True)
class Tree:
    """The files of a source as names, and where each image stands."""

    images: tuple[str, ...]
    """Sorted."""
    others: tuple[str, ...]
    """All other files, sorted."""
    folders: tuple[str, ...]
    """Folders that the source lists, empty ones with them."""
    table: Callable[[str], bytes]
    """The content of one of `others`. Raises BadDataError."""
    containers: tuple[str, ...] = ()
    """Archives within the source; they part the names as folders do, and are no classes."""
    label_column: str | None = None
    """The column of labels that was asked for."""
    split: str | None = None
    """The split that was asked for."""
    as_classes: bool = False
    """Whether folders called train, test, … are classes, too."""

    @cached_property
    def known(self) -> frozenset[str]:
        """The images, to be asked for."""
        return frozenset(self.images)

    @cached_property
    def by_short_name(self) -> dict[str, str | None]:
        """Path without suffix, base name, stem → the one image that has it; None where several have."""
        found: dict[str, str | None] = {}
        for name in self.images:
            path = PurePosixPath(name)
            for text in {str(path.with_suffix("")), path.name, path.stem} - {name}:
                found[text] = None if text in found else name
        return found

    @cached_property
    def depth(self) -> int:
        """How many outer folders hold everything and no image themselves; a folder that is a split is not one of them."""
        parts = [self._parts(name) for name in self.images]
        depth = 0
        while (
            len({path[depth] for path in parts}) == 1
            and all(len(path) > depth + 2 for path in parts)
            and (self.as_classes or parts[0][depth].lower() not in SPLITS)
        ):
            depth += 1
        return depth

    @cached_property
    def outer(self) -> str:
        """The outer folders that are looked through, with a slash at their end; empty if there are none."""
        return "".join(f"{part}/" for part in self._parts(self.images[0])[: self.depth])

    @cached_property
    def tops(self) -> dict[str, int]:
        """Images in each folder at the top (below those that are looked through)."""
        inner = (self._parts(name)[self.depth :] for name in self.images)
        return dict(Counter(parts[0] for parts in inner if len(parts) > 1))

    @cached_property
    def split_names(self) -> tuple[str, ...]:
        """Folders at the top whose names are splits' names."""
        return () if self.as_classes else tuple(name for name in self.tops if name.lower() in SPLITS)

    @cached_property
    def in_splits(self) -> bool:
        """Whether the top folders are splits: all of them, or two, or one that was asked for. A lone folder `train` among others
        may be a class of vehicles."""
        loose = len(self.images) - sum(self.tops.values())
        asked = self.split is not None and self.split in {name.lower() for name in self.split_names}
        return asked or len(self.split_names) > 1 or (bool(self.split_names) and len(self.tops) == 1 and not loose)

    @cached_property
    def places(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Image → (its split, "" without splits; the rest of its path). Without those that lie beside the splits."""
        found = {}
        for name in self.images:
            parts = self._parts(name)[self.depth :]
            if not self.in_splits:
                found[name] = ("", parts)
            elif len(parts) > 1 and parts[0].lower() in SPLITS:
                found[name] = (parts[0].lower(), parts[1:])
        return found

    @cached_property
    def beside_splits(self) -> tuple[str, ...]:
        """Images that lie beside folders that are splits."""
        return tuple(name for name in self.images if name not in self.places)

    @cached_property
    def class_folders(self) -> dict[str, set[str]]:
        """Split → the folders directly below it, or below the top without splits."""
        found: dict[str, set[str]] = {}
        for name in self.folders:
            whole = self._parts(name)
            parts = whole[self.depth :]
            if "".join(f"{part}/" for part in whole[: self.depth]) != self.outer:
                continue
            if not self.in_splits and len(parts) == 1:
                found.setdefault("", set()).add(parts[0])
            elif self.in_splits and len(parts) == 2 and parts[0].lower() in SPLITS:
                found.setdefault(parts[0].lower(), set()).add(parts[1])
        return found

    def _parts(self, name: str) -> tuple[str, ...]:
        """The folders and the file of a name, without the containers."""
        parts = tuple(name.split("/"))
        if not self.containers:
            return parts
        known = self._containers
        return tuple(part for end, part in enumerate(parts, 1) if "/".join(parts[:end]) not in known)

    @cached_property
    def _containers(self) -> frozenset[str]:
        return frozenset(self.containers)


@dataclass(frozen=True)
class Reading:
    """The source in the light of one layout."""

    layout: str
    """The layout's name in the table."""
    what: str
    """What it is, for a person: "class folders", "labels.csv"."""
    labels: Mapping[str, str]
    """Image → the name of its class; images without a label are not in it."""
    declared: tuple[str, ...] = ()
    """Classes that there are, whether or not they have images."""
    used: frozenset[str] = frozenset()
    """Files other than images that were read or belong to the images."""
    refusal: str | None = None
    """Why this layout can't be packed though it was recognised."""
    warnings: tuple[str, ...] = ()
    unused: Mapping[str, str] = field(default_factory=dict)
    """File → why it was looked at and not used."""

    def counted(self) -> str:
        """The classes and their images, for a person."""
        counts = Counter(self.labels.values())
        if not counts:
            return "no labels"
        names = sorted(counts, key=natural)
        more = f", … ({len(names):,} classes)" if len(names) > 5 else ""
        return ", ".join(f"{name} {counts[name]:,}" for name in names[:5]) + more


def natural(name: str) -> tuple[tuple[tuple[int, str, str], ...], str]:
    """Sort key by which 2 comes before 10, and names without digits as by their characters."""
    parts = re.split(r"([0-9]+)", name)
    return tuple(
        (len(part.lstrip("0")), part.lstrip("0"), "") if odd else (0, "", part)
        for odd, part in ((number % 2, part) for number, part in enumerate(parts))
    ), name


def numbers(labels: Iterable[int]) -> tuple[str, ...]:
    """The classes of a layout that numbers them: from 0 to the largest, as text."""
    return tuple(str(number) for number in range(max(labels, default=-1) + 1))


def beside(table: str, name: str) -> str | None:
    """The name, within the source, of what a list of labels calls `name`: relative to the folder that the list lies in.
    None if it leads out of the source."""
    parts: list[str] = list(PurePosixPath(table).parts[:-1])
    text = name.strip().replace("\\", "/")
    if text.startswith("/"):
        return None
    for part in text.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def few(names: Iterable[str]) -> str:
    """The first three of some names."""
    listed = list(names)
    return ", ".join(listed[:3]) + (", …" if len(listed) > 3 else "")


def plural(count: int, word: str) -> str:
    """ "1 image", "1,200 images", "2 classes"."""
    return f"{count:,} {word}{'' if count == 1 else 'es' if word.endswith('s') else 's'}"
