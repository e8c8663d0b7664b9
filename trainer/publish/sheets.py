"""Pictures of a published model: samples, traversals of its latent codes, images beside their reconstructions.

Shape legend: n images, H height, W width, C channels, Z latent dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.images import BACKGROUND
from trainer.publish.controls import Axis, Controls
from trainer.publish.portable.generator import Generator

Told = Callable[[int, int], None]
"""Hears how many of how many images are drawn."""
SAMPLES = 64
ROWS = 10
"""Rows of a traversal of one code."""


@dataclass(frozen=True)
class Sheet:
    """Cells of a picture row by row [n, H, W, C], and what they were made from: z [n, Z], labels [n] where there are any."""

    images: NDArray[np.uint8]
    columns: int
    z: NDArray[np.float32]
    labels: NDArray[np.int64] | None
    says: str = ""
    """What lies where, for a person."""
    truncation: float | None = None
    """At which z were drawn."""


@dataclass(frozen=True)
class Wanted:
    """Samples that are asked for. n: how many; None: 64, or all of a traversal. labels: the rows' classes; empty: random."""

    controls: Controls
    n: int | None = None
    seed: int = 0
    labels: Sequence[int] = ()
    truncation: float | None = None


def unheard(done: int, total: int) -> None:
    """Nobody hears it."""


def images_of(
    generator: Generator,
    z: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
    truncation: float | None,
    told: Told = unheard,
) -> NDArray[np.uint8]:
    """`generator.decode`, telling how far it is."""
    n, size, parts = len(z), generator.batch, []
    for at in range(0, n, size):
        some = labels if labels is None or len(labels) != n else labels[at : at + size]
        parts.append(generator.decode(z[at : at + size], some, truncation))
        told(min(at + size, n), n)
    return np.concatenate(parts) if parts else generator.decode(z, labels, truncation)


def samples(generator: Generator, wanted: Wanted, told: Told = unheard) -> Sheet:
    """The samples that are asked for. Raises ValueError for what isn't possible.

    One code that varies does so along each row, and each row is another noise (Chen et al. 2016, Figure 2). Of two, the
    second varies from row to row, and all noise is the same.
    """
    if len(wanted.controls.varied) == 2:
        return _plane(generator, wanted, told, *wanted.controls.varied)
    if wanted.controls.varied:
        return _traversal(generator, wanted, told, *wanted.controls.varied)
    n, labels, columns = _laid(generator, wanted)
    z = generator.latents(n, wanted.seed, wanted.truncation, codes=wanted.controls.fixed)
    images = images_of(generator, z, labels, wanted.truncation, told)
    return Sheet(images, columns, z, labels, truncation=wanted.truncation)


def _laid(generator: Generator, wanted: Wanted) -> tuple[int, NDArray[np.int64] | None, int]:
    """Of plain samples: how many, their labels, and how many stand in a row."""
    n, rows = wanted.n or SAMPLES, np.array(wanted.labels, np.int64)
    columns = math.ceil(n / len(rows)) if len(rows) else math.ceil(math.sqrt(n))
    return n, np.repeat(rows, columns)[:n] if len(rows) else generator.labels(n, wanted.seed), columns


def stream(generator: Generator, wanted: Wanted) -> tuple[int, Iterator[NDArray[np.uint8]], NDArray[np.int64] | None]:
    """The same samples a batch at a time: how many they are, the batches, and their labels. Memory holds one batch.

    Raises ValueError if a code is varied: then they are a picture.
    """
    if wanted.controls.varied:
        raise ValueError("codes that vary belong in one picture; give --out PICTURE.png, or one value for each code")
    n, labels, _ = _laid(generator, wanted)
    fixed = wanted.controls.fixed or None
    return n, generator.batches(n, wanted.seed, labels, wanted.truncation, codes=fixed), labels


def _traversal(generator: Generator, wanted: Wanted, told: Told, axis: Axis) -> Sheet:
    """One code along each row; each row another noise, or another class of `labels`."""
    columns, given = len(axis.values), np.array(wanted.labels, np.int64)
    rows = len(given) or (ROWS if wanted.n is None else math.ceil(wanted.n / columns))
    n = min(wanted.n or rows * columns, rows * columns)
    noise = np.repeat(generator.latents(rows, wanted.seed, wanted.truncation), columns, axis=0)
    z = generator.with_codes(noise, {**wanted.controls.fixed, axis.code: np.tile(axis.values, rows)})[:n]
    labels = given if len(given) else generator.labels(rows, wanted.seed)
    labels = None if labels is None else np.repeat(labels, columns)[:n]
    says = f"left to right: {_named(axis)}; each row is {'another class and ' if len(given) else ''}another noise"
    return Sheet(images_of(generator, z, labels, wanted.truncation, told), columns, z, labels, says, wanted.truncation)


def _plane(generator: Generator, wanted: Wanted, told: Told, across: Axis, down: Axis) -> Sheet:
    """One code along each row, another from row to row; one noise and one class throughout."""
    if len(wanted.labels) > 1:
        raise ValueError(f"labels has {len(wanted.labels)} entries, but the rows are {down.code}'s; give one label")
    columns, rows = len(across.values), len(down.values)
    n = min(wanted.n or rows * columns, rows * columns)
    noise = np.repeat(generator.latents(1, wanted.seed, wanted.truncation), rows * columns, axis=0)
    values = {across.code: np.tile(across.values, rows), down.code: np.repeat(down.values, columns)}
    z = generator.with_codes(noise, {**wanted.controls.fixed, **values})[:n]
    label = np.array(wanted.labels, np.int64) if wanted.labels else generator.labels(1, wanted.seed)
    labels = None if label is None else np.repeat(label, n)
    says = f"left to right: {_named(across)}; top to bottom: {_named(down)}; the noise is the same throughout"
    return Sheet(images_of(generator, z, labels, wanted.truncation, told), columns, z, labels, says, wanted.truncation)


def decoded(
    generator: Generator,
    z: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
    truncation: float | None = None,
    told: Told = unheard,
) -> Sheet:
    """The images of given latents, which were drawn at this truncation."""
    images = images_of(generator, z, labels, truncation, told)
    y = None if labels is None else np.broadcast_to(labels, len(images)).copy()
    return Sheet(images, math.ceil(math.sqrt(len(images))), z, y, truncation=truncation)


def reconstructions(generator: Generator, images: NDArray[np.uint8], labels: NDArray[np.int64] | None) -> Sheet:
    """Rows of images, each above the row of their reconstructions G(E(x)). Cells that are left over are blank.

    Raises ValueError for a model without an encoder, or images of another size.
    """
    z = generator.encode(images)
    cells, columns = paired(images, generator.decode(z, labels))
    says = "each row of images stands above the row of their reconstructions"
    return Sheet(cells, columns, z, None, says)


def paired(images: NDArray[np.uint8], again: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """Cells of a picture whose rows of `images` [n, H, W, C] stand above rows of `again`, and how many stand in a row."""
    n = len(images)
    columns = min(n, max(8, math.ceil(math.sqrt(2 * n))))
    blocks = math.ceil(n / columns)
    cells = np.full((2, blocks * columns, *images.shape[1:]), BACKGROUND, np.uint8)
    cells[0, :n], cells[1, :n] = images, again
    pairs = cells.reshape(2, blocks, columns, *images.shape[1:]).swapaxes(0, 1)
    return pairs.reshape(-1, *images.shape[1:]), columns


def _named(axis: Axis) -> str:
    """The code and its values, shortened."""
    shown = [f"{value:.3g}" for value in axis.values]
    return f"{axis.code} = {', '.join(shown if len(shown) <= 12 else [*shown[:2], '…', shown[-1]])}"
