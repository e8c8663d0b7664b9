"""Images → WebDataset shards with a manifest: in parallel, reproducible byte for byte, never half finished."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from trainer.data.census import Census, Seen, Tally, remarks, unfit
from trainer.data.codec import BadImageError
from trainer.data.contents import Contents, sort_out
from trainer.data.files import Ignored
from trainer.data.layout import Choices, EmptyClasses, Layout, arrange, imbalance, refuse_empty
from trainer.data.manifest import DatasetManifest
from trainer.data.order import key, permutation
from trainer.data.prepare import Form, probe
from trainer.data.source import open_source
from trainer.data.values import Range
from trainer.data.workers import prepared_images
from trainer.data.writer import PACKING, ShardWriter, install, refuse_unless_free
from trainer.errors import BadDataError
from trainer.schema import Frozen

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
    layout: str | None = None
    """How images and labels lie, where it can be read in several ways: one of `layouts.table.LAYOUTS`."""
    classes: tuple[str, ...] | None = None
    """Class names in label order; None: the natural order of those that are there."""
    empty_classes: EmptyClasses = "refuse"
    """What a class without images is: an error, a class with a number, or none."""
    label_column: str | None = None
    """The column that holds the labels, where its name doesn't say so."""
    range: Range | None = None
    """The values of images of more than 8 bits that become black and white; None: as each file says."""
    follow_links: bool = False
    """Whether links may lead out of the source's folder."""

    @property
    def choices(self) -> Choices:
        """Those that concern the layout."""
        return Choices(self.layout, self.split, self.classes, self.empty_classes, self.label_column)


class Corrupt(Frozen):
    """An image that was skipped."""

    file: str
    reason: str


class Packed(Frozen):
    """One packed split. What a job needs to know of it is in the manifest: classes, channels, resolution."""

    path: str
    split: str
    """Empty if the source has no splits."""
    written: bool
    """False if the same dataset was there already."""
    manifest: DatasetManifest
    layout: str
    """How the source was read: one of `layouts.table.LAYOUTS`."""
    read_as: str
    """The same for a person."""
    census: Census
    corrupt: tuple[Corrupt, ...]
    ignored: tuple[Ignored, ...]
    """Files of the whole source that were taken for no image, and why."""
    warnings: tuple[str, ...]


class _ColourError(Exception):
    """A picture in colour among images that were taken for grey."""


def pack(
    source: str, out: Path, options: Options | None = None, progress: Progress = lambda done, total: None
) -> list[Packed]:
    """Pack a folder, a zip, a tar or `builtin:digits` into `out`, or into `out/<split>` for each of several splits.

    Raises BadDataError if there are no images, too many are corrupt, their labels can be read in several ways, or `out` holds
    something else. Nothing is left in `out` then.
    """
    options = options or Options()
    opened = open_source(source, follow_links=options.follow_links)
    with closing(opened):
        contents = sort_out(opened)
        with closing(contents.source):
            layout = arrange(contents, options.choices)
            form = _form(contents, layout, options)
            try:
                return _pack(contents, layout, out, form, options, progress)
            except _ColourError:  # what was looked at first was grey
                return _pack(contents, layout, out, replace(form, channels=3), options, progress)


def _pack(
    contents: Contents, layout: Layout, out: Path, form: Form, options: Options, progress: Progress
) -> list[Packed]:
    """All splits, each aside; only when all are whole are they moved to where they belong."""
    total, done = sum(map(len, layout.splits.values())), 0
    several = len(layout.splits) > 1
    with ExitStack() as stack:
        aside: list[_Aside] = []
        for split, entries in layout.splits.items():
            target = out / split if several else out
            before = done

            def tell(count: int, before: int = before) -> None:
                progress(before + count, total)

            name = options.name or contents.source.name
            name = f"{name}-{split}" if options.name is None and split and (several or options.split) else name
            facts = {"channels": form.channels} if options.channels else {}
            refuse_unless_free(
                target, options.force, resolution=form.resolution, classes=_names(layout, entries), **facts
            )
            target.parent.mkdir(parents=True, exist_ok=True)
            folder = tempfile.TemporaryDirectory(prefix=f".{target.name}.packing-", dir=target.parent)
            path = Path(stack.enter_context(folder))
            aside.append(_write(contents, layout, split, path, target, name, form, options, tell))
            done += len(entries)
        _refuse_empty(layout, aside, options)
        return [_installed(item, layout, options) for item in aside]


@dataclass
class _Aside:
    """A split that is packed and not yet where it belongs."""

    folder: Path
    target: Path
    split: str
    manifest: DatasetManifest
    tally: Tally
    corrupt: list[Corrupt]


def _write(
    contents: Contents, layout: Layout, split: str, folder: Path, target: Path, name: str, form: Form, options: Options,
    tell: Callable[[int], None],
) -> _Aside:  # fmt: skip
    entries = layout.splits[split]
    tally, corrupt = Tally(form.resolution, form.channels), list[Corrupt]()
    shuffled = [entries[i] for i in permutation(len(entries), key("pack", len(entries)))]  # each shard mixes classes
    images = prepared_images(contents.source, [file for file, _ in shuffled], form, options.workers)
    with closing(ShardWriter(folder, options.shard_size)) as writer:
        for count, ((file, label), image) in enumerate(zip(shuffled, images, strict=True), start=1):
            if isinstance(image, str):
                corrupt.append(Corrupt(file=file, reason=image))
                _check_corrupt(corrupt, len(entries), options.max_corrupt)
            else:
                tally.add(file, label, image.seen)
                _check_form(tally, image.seen, form, options)
                writer.add(image.png, label)
            tell(count)
        manifest = writer.finish(name, form.resolution, form.channels, _names(layout, entries))
    corrupt.sort(key=lambda item: item.file)
    return _Aside(folder, target, split, manifest, tally, corrupt)


def _check_form(tally: Tally, seen: Seen, form: Form, options: Options) -> None:
    """Whether an image is like those that were looked at first, where size and colours are taken from them."""
    if options.channels is None and form.channels == 1 and not seen.grey:
        raise _ColourError
    if options.resolution is None and tally.sides[0] != tally.sides[1]:
        raise _differ(*tally.sides)


def _names(layout: Layout, entries: list[tuple[str, int]]) -> tuple[str, ...]:
    """The classes of a split; none if it has no labels."""
    return layout.classes if any(label >= 0 for _, label in entries) else ()


def _installed(item: _Aside, layout: Layout, options: Options) -> Packed:
    census, manifest = item.tally.finish(), item.manifest
    bare = bool(layout.classes) and not manifest.classes
    warnings = (
        *layout.warnings,
        *([f"split {item.split} has no labels: it is packed without classes"] if bare else []),
        *imbalance(manifest.classes, manifest.class_counts),
        *remarks(census, manifest.resolution),
        *unfit(manifest.resolution),
    )
    packed = Packed(
        path=str(item.target), split=item.split, written=True, manifest=manifest, layout=layout.name, read_as=layout.what,
        census=census, corrupt=tuple(item.corrupt), ignored=layout.ignored, warnings=warnings,
    )  # fmt: skip
    report = packed.model_dump_json(exclude={"path", "written", "manifest"}, indent=2)
    (item.folder / PACKING).write_text(report + "\n", "utf-8")
    return packed.replace(written=install(item.folder, item.target, manifest, options.force))


def _form(contents: Contents, layout: Layout, options: Options) -> Form:
    """Resolution and channels: as asked for, else as some of the images are. If others are not so, packing them tells."""
    if options.resolution and options.channels:
        return Form(options.resolution, options.channels, options.range)
    entries = [file for split in layout.splits.values() for file, _ in split]
    found = []
    for file in entries[:: max(1, len(entries) // PROBES)]:
        try:
            found.append(probe(contents.source.read(file)))
        except BadImageError:
            continue
    if not found:
        reason = _reason(contents, entries[0])
        raise BadDataError(
            f"none of {min(PROBES, len(entries))} images that were looked at can be read: {entries[0]} {reason}"
        )
    sides = Counter(side for side, _ in found)
    if options.resolution is None and len(sides) > 1:
        raise _differ(min(sides), max(sides))
    channels = options.channels or (1 if all(grey for _, grey in found) else 3)
    return Form(options.resolution or next(iter(sides)), channels, options.range)


def _reason(contents: Contents, file: str) -> str:
    try:
        probe(contents.source.read(file), file)
    except BadImageError as error:
        return str(error)
    return "can't be read"


def _differ(smallest: int, largest: int) -> BadDataError:
    return BadDataError(f"images differ in size ({smallest} to {largest} px); choose one with --resolution")


def _check_corrupt(corrupt: list[Corrupt], total: int, limit: float) -> None:
    if len(corrupt) > limit * total:
        listed = "; ".join(f"{item.file} {item.reason}" for item in corrupt[:5])
        raise BadDataError(
            f"{len(corrupt):,} of {total:,} images can't be used, more than --max-corrupt {limit:g} allows: {listed}; repair or "
            "remove them, or raise the limit"
        )


def _refuse_empty(layout: Layout, aside: list[_Aside], options: Options) -> None:
    """A class may also lose its last images to their being unreadable."""
    counts: Counter[str] = Counter()
    for item in aside:
        counts.update(dict(zip(item.manifest.classes, item.manifest.class_counts, strict=True)))
    refuse_empty(layout.classes, counts, options.choices)
