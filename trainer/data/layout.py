"""What a tree of files means: splits, classes, images; and what looks wrong about it. Pure, but for reading files of labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from trainer.data.contents import Contents
from trainer.data.files import Ignored
from trainer.data.layouts import chunks, classes, flat
from trainer.data.layouts.base import Reading, Tree, few, natural, plural
from trainer.data.layouts.table import FOLDERS, LAYOUTS, TABLES
from trainer.errors import BadDataError

IMBALANCE = 10
"""Ratio of the largest to the smallest class that is worth a warning."""
MOST_CLASSES = 100_000
EmptyClasses = Literal["refuse", "keep", "drop"]


@dataclass(frozen=True)
class Choices:
    """What a person decides where the files alone don't say."""

    layout: str | None = None
    """One of LAYOUTS; None: as recognised."""
    split: str | None = None
    classes: tuple[str, ...] | None = None
    """The classes in label order; None: in natural order of their names."""
    empty_classes: EmptyClasses = "refuse"
    label_column: str | None = None


@dataclass(frozen=True)
class Layout:
    """What is to be packed, and what isn't."""

    name: str
    """The layout that was recognised, as in LAYOUTS."""
    what: str
    """The same for a person."""
    classes: tuple[str, ...]
    """Names in label order; empty without labels."""
    splits: dict[str, list[tuple[str, int]]]
    """Split ("" if there are none) → (name, label) of each image, sorted; the label is -1 where there is none."""
    ignored: tuple[Ignored, ...]
    warnings: tuple[str, ...] = ()


def arrange(contents: Contents, choices: Choices | None = None) -> Layout:
    """Splits, classes and images of a source.

    Folders that hold nothing but one folder are looked through. `train/`, `test/`, `val/` at the top are splits. What the labels
    are, a reader of `layouts` says. Raises BadDataError if there are no images, if labels can be read in several ways,
    if a split is labelled in part, or if a class has no images.
    """
    choices = choices or Choices()
    if not contents.images:
        raise BadDataError(
            f"the source holds no images in {plural(len(contents.others), 'file')}{_kinds(contents.others)}"
        )
    tree = _tree(contents, choices)
    reading, unused = _recognised(tree, choices.layout)
    if reading.refusal is not None:
        raise BadDataError(reading.refusal)
    splits = _chosen(tree, choices.split)
    warnings = [*reading.warnings, *(f"{name} isn't used: it {why}" for name, why in sorted(unused.items()))]
    labelled = {split: _whole(reading, split, names) for split, names in splits.items()}
    order, more = _classes(reading, splits, labelled, choices)
    numbers = {label: number for number, label in enumerate(order)}
    return Layout(
        reading.layout,
        reading.what,
        tuple(order.values()),
        {split: [(name, numbers.get(reading.labels.get(name, ""), -1)) for name in splits[split]] for split in splits},
        _ignored(contents, tree, reading, unused),
        (*warnings, *more),
    )


def class_list(text: str) -> tuple[str, ...]:
    """`a,b,c`, or the lines of a file of that name. Raises BadDataError if a name comes twice or none is there."""
    path = Path(text).expanduser()
    names = path.read_text("utf-8").splitlines() if "," not in text and path.is_file() else text.split(",")
    found = [name.strip() for name in names if name.strip()]
    if twice := [name for name, count in Counter(found).items() if count > 1]:
        raise BadDataError(f"--classes names {few(twice)} twice; name each class once, in the order of the labels")
    if not found:
        raise BadDataError("--classes names no class; give a,b,c or a file with a name in each line")
    return tuple(found)


def imbalance(names: tuple[str, ...], counts: tuple[int, ...]) -> list[str]:
    """Warnings about classes without images, or much smaller than others."""
    warnings = []
    if empty := [name for name, count in zip(names, counts, strict=True) if count == 0]:
        warnings.append(f"no images of {len(empty)} of {len(names)} classes: {', '.join(empty[:5])}")
    filled = Counter({name: count for name, count in zip(names, counts, strict=True) if count})
    if filled:
        (most, high), (least, low) = filled.most_common()[0], filled.most_common()[-1]
        if high >= IMBALANCE * low:
            warnings.append(
                f"classes are imbalanced: {high:,} images of {most!r}, {low:,} of {least!r}; a job draws them in this "
                "proportion, unless data.sampling is balanced"
            )
    return warnings


def refuse_empty(names: Sequence[str], counts: Mapping[str, int], choices: Choices) -> tuple[str, ...]:
    """The classes to number: all, or those that have images, as was decided. Raises BadDataError for ones without."""
    empty = [name for name in names if not counts.get(name)]
    if empty and choices.empty_classes == "refuse":
        verb = "has" if len(empty) == 1 else "have"
        raise BadDataError(
            f"{len(empty):,} of {plural(len(names), 'class')} {verb} no images: {few(empty)}; put images there or remove the "
            "folders and names, or choose --empty-classes keep (numbered, without images) or drop (not numbered)"
        )
    return tuple(name for name in names if choices.empty_classes != "drop" or counts.get(name))


def _tree(contents: Contents, choices: Choices) -> Tree:
    tree = Tree(
        contents.images, contents.others, contents.folders, contents.table, contents.containers, choices.label_column, choices.split
    )  # fmt: skip
    if not tree.beside_splits or choices.split is not None:
        return tree
    if choices.layout == classes.NAME:
        return replace(tree, as_classes=True)
    splits = " and ".join(f"{name}/" for name in tree.split_names)
    raise BadDataError(
        f"{splits} look like splits, but images lie beside them, {len(tree.beside_splits):,} of {len(tree.images):,} "
        f"({few(tree.beside_splits)}); choose one with --split, or --layout classes if all folders are classes"
    )


def _recognised(tree: Tree, layout: str | None) -> tuple[Reading, dict[str, str]]:
    """The one reading of the source, and the tables that are none. Raises BadDataError if there are several."""
    if layout is not None and layout not in LAYOUTS:
        raise BadDataError(f"--layout {layout}: no such layout; use {', '.join(LAYOUTS)}")
    tables = [reading for read in TABLES.values() if (reading := read(tree)) is not None]
    unused = {name: why for reading in tables for name, why in reading.unused.items()}
    if layout is not None:
        reading = FOLDERS[layout](tree) if layout in FOLDERS else next((r for r in tables if r.layout == layout), None)
        if reading is None or (layout in TABLES and not reading.used):
            reasons = "; ".join(f"{name} {why}" for name, why in unused.items())
            raise BadDataError(f"--layout {layout}: the source isn't laid out so{': ' * bool(reasons)}{reasons}")
        return reading, {}
    first, *others = _candidates(tree, [reading for reading in tables if reading.used])
    others = [other for other in others if not _same(first.labels, other.labels)]
    if others:
        ways = ", or ".join(f"as {r.what} ({r.counted()}; --layout {r.layout})" for r in (first, *others))
        raise BadDataError(f"the labels can be read in {len(others) + 1} ways: {ways}; choose one")
    return first, unused


def _candidates(tree: Tree, tables: list[Reading]) -> list[Reading]:
    """The readings to choose from; those with tables come first, and folders beside them count if they look like classes."""
    folders, chunked = classes.read(tree), chunks.read(tree)
    if not tables:
        return [reading for reading in (chunked, folders) if reading is not None] or [flat.read(tree)]
    names = set() if folders is None else set(folders.labels.values())
    return [*tables, *([folders] if folders is not None and len(names) > 1 and not chunks.numbered(names) else [])]


def _same(labels: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two labellings part the same images alike, whatever they call the parts."""
    pairs = {(label, other.get(name)) for name, label in labels.items()}
    return labels.keys() == other.keys() and len(pairs) == len(set(labels.values())) == len(set(other.values()))


def _chosen(tree: Tree, split: str | None) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {}
    for name, (where, _) in tree.places.items():
        splits.setdefault(where, []).append(name)
    if split is None:
        return splits
    if split not in splits:
        there = ", ".join(filter(None, splits)) or "none"
        raise BadDataError(f"--split {split!r}: the source has no such split; splits: {there}")
    return {split: splits[split]}


def _whole(reading: Reading, split: str, names: Sequence[str]) -> bool:
    """Whether a split is labelled. Raises BadDataError if some of its images are and some aren't."""
    bare = [name for name in names if name not in reading.labels]
    if not bare or len(bare) == len(names):
        return not bare
    where = f"split {split}: " if split else ""
    labelled = len(names) - len(bare)
    if reading.layout == classes.NAME:
        raise BadDataError(
            f"{where}images lie beside class folders, {len(bare):,} of {len(names):,} ({few(bare)}); move them into a class folder "
            "or away, or choose --layout flat for data without classes"
        )
    raise BadDataError(
        f"{where}{reading.what} labels {labelled:,} of {plural(len(names), 'image')}, not {few(bare)}; label them or move them away"
    )


def _classes(
    reading: Reading, splits: Mapping[str, list[str]], labelled: Mapping[str, bool], choices: Choices
) -> tuple[dict[str, str], list[str]]:
    """Label, as the source has it → name of the class, in order; and warnings. The classes are those of all splits, so that
    a split that is packed alone has the same numbers."""
    if not any(labelled.values()):
        if choices.classes is not None:
            raise BadDataError(f"--classes names {few(choices.classes)}, but {reading.what} gives no labels")
        return {}, []
    present = sorted(set(reading.labels.values()) | set(reading.declared), key=natural)
    if len(present) == 1 and choices.classes is None:
        return {}, [
            f"all images are of one class ({present[0]!r}), so a label says nothing: packed without classes. If there are "
            "classes, give the folder whose sub-folders are the classes",
        ]
    if len(present) > MOST_CLASSES:
        raise BadDataError(
            f"{plural(len(present), 'class')} are more than {MOST_CLASSES:,}; is this the right column or folder?"
        )
    counts = Counter(reading.labels[name] for split, names in splits.items() if labelled[split] for name in names)
    order = _ordered(present, choices.classes)
    kept = refuse_empty(tuple(order), counts, choices)
    return {label: order[label] for label in kept}, []


def _ordered(present: list[str], wanted: tuple[str, ...] | None) -> dict[str, str]:
    """Label → name, in the wanted order; a list of other names gives names to labels that are numbers."""
    if wanted is None:
        return {label: label for label in present}
    numbered = {int(label): label for label in present if label.isascii() and label.isdigit() and len(label) < 10}
    if len(numbered) == len(present) and not set(present) & set(wanted):
        if max(numbered) >= len(wanted):
            raise BadDataError(
                f"--classes names {plural(len(wanted), 'class')}, but labels go up to {max(numbered)}; name 0 to {max(numbered)}"
            )
        return {numbered.get(number, str(number)): name for number, name in enumerate(wanted)}
    if unknown := [name for name in present if name not in set(wanted)]:
        raise BadDataError(
            f"--classes leaves out {plural(len(unknown), 'class')} of the source: {few(unknown)}; name all, in the order of the labels"
        )
    return {name: name for name in wanted}


def _ignored(contents: Contents, tree: Tree, reading: Reading, unused: Mapping[str, str]) -> tuple[Ignored, ...]:
    left = [
        Ignored(file=name, reason=unused.get(name, "no image")) for name in contents.others if name not in reading.used
    ]
    left += [Ignored(file=name, reason="beside the splits") for name in tree.beside_splits]
    return tuple(sorted((*contents.ignored, *left), key=lambda item: item.file))


def _kinds(names: Sequence[str]) -> str:
    """ ": .txt 40, .mp4 3" of some names."""
    counts = Counter(PurePosixPath(name).suffix.lower() or "without a suffix" for name in names)
    return (": " + ", ".join(f"{kind} {count:,}" for kind, count in counts.most_common(5))) if counts else ""
