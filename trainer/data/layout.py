"""What a tree of files means: splits, classes, images; and what looks wrong about it. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from trainer.errors import BadDataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
SPLITS = frozenset({"train", "test", "val", "valid", "validation"})
IMBALANCE = 10
"""Ratio of the largest to the smallest class that is worth a warning."""


@dataclass(frozen=True)
class Layout:
    """splits: split ("" if there are none) → (name, label) of each image, sorted; label is -1 without classes."""

    classes: tuple[str, ...]
    splits: dict[str, list[tuple[str, int]]]
    ignored: int
    """Files that are no images."""
    warnings: list[str] = field(default_factory=list)


def arrange(names: list[str]) -> Layout:
    """Splits, classes and images of a source's file names.

    Folders that hold nothing but one folder are looked through. `train/`, `test/`, `val/` at the top are splits; the
    next level's folders are classes, whatever lies deeper belongs to them; images without folders have no classes.
    Raises BadDataError if there are no images, or if some lie in class folders and some beside them.
    """
    images = [name for name in names if _is_image(name)]
    if not images:
        raise BadDataError(f"the source holds no images ({', '.join(sorted(SUFFIXES))}) in {len(names)} files")
    depth = _wrapping(images)
    splits: dict[str, list[tuple[PurePosixPath, str]]] = {}
    inner = [(PurePosixPath(*PurePosixPath(name).parts[depth:]), name) for name in images]
    if all(len(path.parts) > 1 and path.parts[0].lower() in SPLITS for path, _ in inner):
        for path, name in inner:
            splits.setdefault(path.parts[0].lower(), []).append((PurePosixPath(*path.parts[1:]), name))
    else:
        splits[""] = inner
    return _labelled(splits, len(names) - len(images))


def _labelled(splits: dict[str, list[tuple[PurePosixPath, str]]], ignored: int) -> Layout:
    everything = [path for split in splits.values() for path, _ in split]
    loose = sum(len(path.parts) == 1 for path in everything)
    if 0 < loose < len(everything):
        raise BadDataError(
            f"{loose:,} images lie beside class folders that hold {len(everything) - loose:,} others; "
            "move them into a class folder, or flatten the folders for data without classes"
        )
    warnings = []
    classes = () if loose else tuple(sorted({path.parts[0] for path in everything}))
    if len(classes) == 1:
        warnings.append(
            f"all images lie in one class folder ({classes[0]!r}), so a label says nothing: packed without classes. If there "
            "are classes, give the folder whose sub-folders are the classes"
        )
        classes = ()
    elif any(len(path.parts) > 2 for path in everything):
        warnings.append(
            f"class folders hold folders; the outer ones ({', '.join(classes[:3])}, …) were taken as the classes. If the inner "
            "ones are, give one folder deeper"
        )
    numbers = {name: number for number, name in enumerate(classes)}
    labelled = {
        split: [(name, numbers.get(path.parts[0], -1)) for path, name in entries] for split, entries in splits.items()
    }
    return Layout(classes, labelled, ignored, warnings)


def imbalance(classes: tuple[str, ...], counts: tuple[int, ...]) -> list[str]:
    """Warnings about classes without images, or much smaller than others."""
    warnings = []
    if empty := [name for name, count in zip(classes, counts, strict=True) if count == 0]:
        warnings.append(f"no images of {len(empty)} of {len(classes)} classes: {', '.join(empty[:5])}")
    filled = Counter({name: count for name, count in zip(classes, counts, strict=True) if count})
    if filled:
        (most, high), (least, low) = filled.most_common()[0], filled.most_common()[-1]
        if high >= IMBALANCE * low:
            warnings.append(
                f"classes are imbalanced: {high:,} images of {most!r}, {low:,} of {least!r}; the stream draws them as often"
            )
    return warnings


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return not hidden and path.suffix.lower() in SUFFIXES


def _wrapping(images: list[str]) -> int:
    """How many outer folders hold everything and no image themselves."""
    parts = [PurePosixPath(name).parts for name in images]
    depth = 0
    while len({path[depth] for path in parts}) == 1 and all(len(path) > depth + 2 for path in parts):
        depth += 1
    return depth
