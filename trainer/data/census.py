"""What all images of a dataset have in common, and the ones that stand out: seen while they are packed or checked."""

from __future__ import annotations

import hashlib
from array import array
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.layouts.base import few, plural
from trainer.families.table import resolutions
from trainer.schema import Frozen

DARK = 8
"""Grey levels up to which a pixel counts as black."""
CLOSE = 8
"""Grey levels around an image's median that count as its background."""
EMPTY = 0.01
"""Share of pixels off the background below which an image is nearly empty."""
NARROW = 32
"""Grey levels: an eighth of the range."""
LONG = 2.0
"""Ratio of the sides from which the crop to a square loses half of an image."""
EXAMPLES = 5


class Seen(NamedTuple):
    """What one image looks like. The first five speak of the file, the others of what is stored of it."""

    width: int
    height: int
    grey: bool
    """Whether the file's mode has no colours."""
    moving: bool
    """Whether it is an animation, of which the first frame is stored."""
    plain: bool
    """Whether the stored image has no colours, though its mode may."""
    low: int
    """The darkest value."""
    high: int
    """The brightest."""
    empty: bool
    """Whether less than 1 % of its pixels stand out from its median."""
    content: int
    """64 bits of a hash of the stored pixels."""


def see(image: Image.Image, size: tuple[int, int], *, grey: bool = False, moving: bool = False) -> Seen:
    """Look at a stored image (mode L or RGB) whose file had that size. Most of it is one histogram, so it costs little beside
    decoding."""
    counts = np.array(image.histogram(), dtype=np.int64).reshape(-1, 256)
    pixels = image.width * image.height
    plain = len(counts) == 1 or (bool((counts == counts[0]).all()) and _is_plain(image))
    there = np.flatnonzero(counts.sum(axis=0))
    low, high = int(there[0]), int(there[-1])
    medians = (counts.cumsum(axis=1) >= (pixels + 1) // 2).argmax(axis=1)  # the lower one where there are two
    near = sum(
        int(row[max(0, at - CLOSE) : at + CLOSE + 1].sum() > (1 - EMPTY) * pixels)
        for row, at in zip(counts, medians, strict=True)
    )
    empty = high > low and near == len(counts) and _stands_out(image, medians) < EMPTY
    content = int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "little")
    return Seen(size[0], size[1], grey, moving, plain, low, high, empty, content)


def see_pixels(pixels: NDArray[np.uint8]) -> Seen:
    """The same for pixels [H, W, C] without a file."""
    image = Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))
    return see(image, image.size)


def _is_plain(image: Image.Image) -> bool:
    pixels = np.asarray(image)
    return bool((pixels == pixels[:, :, :1]).all())


def _stands_out(image: Image.Image, medians: NDArray[np.int64]) -> float:
    """The share of pixels that are far from the median in some channel."""
    pixels = np.asarray(image).reshape(image.width * image.height, -1).astype(np.int64)
    return float((np.abs(pixels - medians) > CLOSE).any(axis=1).mean())


class Census(Frozen):
    """How many of a dataset's images are what. Sizes are those of the files before packing."""

    images: int
    smallest: int
    """Shorter side of the smallest image in pixels."""
    largest: int
    """Shorter side of the largest."""
    shrunk: int
    enlarged: int
    long: int
    """At least twice as long as wide, or as wide as long: the crop to a square loses half or more."""
    moving: int
    """Animations; their first frame is stored."""
    greyed: int
    """Images in colour that were made grey."""
    plain: int
    """Images without colours that are stored in colour."""
    black: int
    constant: int
    """Of one value, and not black."""
    empty: int
    """Nearly empty: less than 1 % of the pixels stand out from the median."""
    narrow: int
    """Images that use less than an eighth of the grey levels."""
    copies: int
    """Images whose pixels are those of another; of n alike, n - 1."""
    torn: int
    """Pictures that come with several labels."""
    examples: dict[str, tuple[str, ...]]
    """Some files for each of the counts."""


class Tally:
    """Counts images into a census. Memory: 12 bytes an image."""

    def __init__(self, resolution: int, channels: int) -> None:
        self.resolution, self.channels = resolution, channels
        self._counts: dict[str, int] = dict.fromkeys(
            ("shrunk", "enlarged", "long", "moving", "greyed", "plain", "black", "constant", "empty", "narrow"), 0
        )
        self._examples: dict[str, list[str]] = {}
        self._sides: set[int] = set()
        self._content, self._labels = array("Q"), array("l")

    def add(self, file: str, label: int, seen: Seen) -> None:
        """One image that is stored."""
        side, long_side = sorted((seen.width, seen.height))
        self._sides.add(side)
        self._content.append(seen.content)
        self._labels.append(label)
        black = seen.high <= DARK
        facts = {
            "shrunk": side > self.resolution,
            "enlarged": side < self.resolution,
            "long": long_side >= LONG * side,
            "moving": seen.moving,
            "greyed": self.channels == 1 and not seen.grey,
            "plain": self.channels == 3 and seen.plain,
            "black": black,
            "constant": not black and seen.high == seen.low,
            "empty": not black and seen.empty,
            "narrow": seen.high - seen.low < NARROW,
        }
        for name, true in facts.items():
            if true:
                self._counts[name] += 1
                if len(examples := self._examples.setdefault(name, [])) < EXAMPLES:
                    examples.append(file)

    @property
    def sides(self) -> tuple[int, int]:
        """The smallest and the largest shorter side so far."""
        return min(self._sides), max(self._sides)

    @property
    def content(self) -> NDArray[np.uint64]:
        """Hashes of the images, in the order in which they came."""
        return np.frombuffer(self._content, dtype=np.uint64)

    def finish(self) -> Census:
        """The census of what was added, at least one image."""
        smallest, largest = self.sides
        order, labels = np.unique(self.content, return_inverse=True)[1], np.array(self._labels)
        pairs = np.unique(np.stack((order, labels)), axis=1)
        return Census(
            images=len(order), smallest=smallest, largest=largest, **self._counts,
            copies=len(order) - int(order.max()) - 1,
            torn=int((np.bincount(pairs[0]) > 1).sum()),
            examples={name: tuple(files) for name, files in sorted(self._examples.items())},
        )  # fmt: skip


def remarks(census: Census, resolution: int) -> list[str]:
    """What of a census a person should know before training."""

    def such(name: str) -> str:
        files = census.examples.get(name, ())
        return f" (such as {few(files)})" if files else ""

    def are(name: str, what: str, what_many: str) -> str:
        count: int = getattr(census, name)
        return f"{plural(count, 'image')} {what if count == 1 else what_many}{such(name)}"

    found = {
        "black": are("black", "is black", "are black"),
        "constant": are("constant", "is of one colour", "are of one colour"),
        "empty": are("empty", "is nearly empty", "are nearly empty") + ": less than 1 % of the pixels stand out",
        "copies": f"{plural(census.copies, 'image')} {'is a copy' if census.copies == 1 else 'are copies'} of others, pixel by pixel",
        "torn": f"{plural(census.torn, 'picture')} {'comes' if census.torn == 1 else 'come'} with several labels",
        "enlarged": are(
            "enlarged",
            f"is smaller than {resolution} px and was enlarged",
            f"are smaller than {resolution} px and were enlarged",
        )
        + f" (from {census.smallest} px on): nets learn the blur",
        "long": are("long", "is twice as long as wide or more", "are twice as long as wide or more")
        + ": the crop to the square loses half or more",
        "moving": are("moving", "is an animation", "are animations") + ": only the first frame is there",
    }
    narrow = census.narrow > census.images / 2
    if narrow:
        del found["empty"]  # where all is faint, little stands out
    words = [text for name, text in found.items() if getattr(census, name)]
    if narrow:
        words.append(
            f"{'all' if census.narrow == census.images else f'{census.narrow:,} of'} {plural(census.images, 'image')} use less than an "
            "eighth of the grey levels; if their values have another range than their type, pack with --range LOW:HIGH"
        )
    if census.plain == census.images:
        words.append(
            "all images are grey, though they are stored in colour: pack with --channels 1 for a third of the values"
        )
    return words


def unfit(resolution: int) -> list[str]:
    """A warning for a size that no family has nets of, or few; empty for a size that most have."""
    sizes = resolutions()
    families = {name for names in sizes.values() for name in names}
    listed = ", ".join(str(size) for size in sizes if set(sizes[size]) == families)
    few_have = "".join(f"; {size}: {', '.join(names)}" for size, names in sizes.items() if set(names) != families)
    if resolution not in sizes:
        below = [size for size in sizes if size < resolution]
        fix = f"pack again with --resolution {max(below) if below else min(sizes)}, for example"
        return [f"no family has nets of {resolution} px, only of {listed}{few_have}; {fix}"]
    if set(sizes[resolution]) != families:
        return [
            f"of {resolution} px only {' and '.join(sizes[resolution])} have nets; all families have them of {listed}"
        ]
    return []
