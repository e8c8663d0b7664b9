"""Pictures of each reproduction, drawn by the published package.

Shape legend: n images, Z latent dimensions, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.reproduce.case import Case
from benchmarks.reproduce.protocols.truncation import platforms, thresholds
from trainer.images import grid, save_png

FOLDER = Path(__file__).parents[2] / "docs" / "images" / "reproduce"
Images = NDArray[np.uint8]
COLUMNS = 10
EXEMPLARS, DRAWN = 3, 200
"""Latents that are averaged for vector arithmetic, as in the paper, and samples that they are chosen among."""
REACH = 2.0
"""Continuous codes are varied from −2 to 2, as in the paper, though they were trained in ±1."""


def draw(name: str, case: Case, folder: Path) -> Iterator[Path]:
    """Write `<name>.png` and what else there is to see of this family; yields the paths."""
    arch = case.trained.spec.arch
    yield _saved(folder / f"{name}.png", samples(case))
    if arch.family == "dcgan" and arch.conditional:
        yield _saved(folder / f"{name}-interpolation.png", interpolations(case))
        yield _saved(folder / f"{name}-arithmetic.png", arithmetic(case), columns=4)
    if arch.family.startswith("biggan"):
        yield _saved(folder / f"{name}-truncation.png", truncated(case))
    if arch.encoder:
        yield _saved(folder / f"{name}-reconstruction.png", reconstructions(case))
    for code in arch.latent.codes:
        yield _saved(folder / f"{name}-{code.name}.png", traversal(case, code.name))


def samples(case: Case) -> Images:
    """100 samples; a conditional model's rows are its classes."""
    arch = case.trained.spec.arch
    if not arch.conditional:
        return case.trained.sample(COLUMNS * COLUMNS)
    return case.trained.sample(COLUMNS * arch.classes, labels=np.repeat(np.arange(arch.classes), COLUMNS).tolist())


def truncated(case: Case) -> Images:
    """A row for each threshold of the truncation curve, narrowest first and untruncated last: the same seeds, a class each."""
    limits = (*thresholds(platforms(case.trained)[0]), None)
    labels = np.arange(COLUMNS) % case.trained.spec.arch.classes
    return np.concatenate([case.trained.sample(COLUMNS, labels=labels.tolist(), truncation=limit) for limit in limits])


def interpolations(case: Case) -> Images:
    """Each row goes from one latent to another in a straight line, with the label of its row."""
    generator, rows = case.trained.generator, case.trained.spec.arch.classes
    ends = generator.latents(2 * rows, seed=3)
    shares = np.linspace(0.0, 1.0, COLUMNS, dtype=np.float32)[None, :, None]
    z = (1 - shares) * ends[:rows, None] + shares * ends[rows:, None]
    images: Images = generator.decode(z.reshape(rows * COLUMNS, -1), np.repeat(np.arange(rows), COLUMNS))
    return images


def arithmetic(case: Case) -> Images:
    """Rows of four: bold a, thin a, thin b, and bold a − thin a + thin b drawn as b; b is the class behind a.

    Each z is the mean of three samples' (Radford et al. 2016, section 6.3.2), bold and thin by their mean ink.
    """
    generator, classes = case.trained.generator, case.trained.spec.arch.classes
    bold, thin = [], []
    for label in range(classes):
        z = generator.latents(DRAWN, seed=4, start=label * DRAWN)
        order = np.argsort(generator.decode(z, label).mean(axis=(1, 2, 3)))
        thin.append(z[order[:EXEMPLARS]].mean(axis=0))
        bold.append(z[order[-EXEMPLARS:]].mean(axis=0))
    cells: list[NDArray[np.float32]] = []
    labels: list[int] = []
    for a in range(classes):
        b = (a + 1) % classes
        cells += [bold[a], thin[a], thin[b], bold[a] - thin[a] + thin[b]]
        labels += [a, a, b, b]
    images: Images = generator.decode(np.stack(cells), labels)
    return images


def reconstructions(case: Case) -> Images:
    """Rows of test images, each above the row of what the decoder makes of their codes."""
    images, _ = case.split("test")
    chosen = images[: 5 * COLUMNS]
    generator = case.trained.generator
    decoded = generator.decode(generator.encode(chosen))
    rows = [part for first in range(0, len(chosen), COLUMNS) for part in _pair(chosen, decoded, first)]
    return np.concatenate(rows)


def traversal(case: Case, name: str) -> Images:
    """A row for each value of the first categorical code (for that code itself: for each of ten latents), and along it
    the values of the code."""
    generator, codes = case.trained.generator, {code.name: code for code in case.trained.spec.arch.latent.codes}
    categorical = next((code for code in codes.values() if code.kind == "categorical"), None)
    values = np.arange(codes[name].size) if codes[name].kind == "categorical" else np.linspace(-REACH, REACH, COLUMNS)
    rows = categorical.size if categorical is not None and categorical.name != name else COLUMNS
    z = np.repeat(generator.latents(rows, seed=5), len(values), axis=0)
    set_to: dict[str, NDArray[np.float64]] = {name: np.tile(values, rows).astype(np.float64)}
    if categorical is not None and categorical.name != name:
        set_to[categorical.name] = np.repeat(np.arange(rows), len(values)).astype(np.float64)
    images: Images = generator.decode(generator.with_codes(z, set_to))
    return images


def _pair(images: Images, decoded: Images, first: int) -> tuple[Images, Images]:
    rows = slice(first, first + COLUMNS)
    return images[rows], decoded[rows]


def _saved(path: Path, images: Images, columns: int = COLUMNS) -> Path:
    save_png(path, grid(images, columns))
    return path
