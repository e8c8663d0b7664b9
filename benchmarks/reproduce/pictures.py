"""Pictures of each reproduction, drawn by the published generator.

Shape legend: n images, Z latent dimensions, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.reproduce.case import Case
from trainer.images import grid, save_png

FOLDER = Path(__file__).parents[2] / "docs" / "images" / "reproduce"
Images = NDArray[np.uint8]
COLUMNS = 10


def draw(name: str, case: Case, folder: Path) -> Iterator[Path]:
    """Write `<name>.png` and what else there is to see of this family; yields the paths."""
    yield _saved(folder / f"{name}.png", samples(case), COLUMNS)
    if case.trained.spec.arch.family == "dcgan" and hasattr(case.trained.generator, "decode"):
        yield _saved(folder / f"{name}-interpolation.png", interpolations(case), COLUMNS)


def samples(case: Case) -> Images:
    """100 samples; a conditional model's rows are its classes."""
    arch = case.trained.spec.arch
    if not arch.conditional:
        return case.trained.sample(COLUMNS * COLUMNS)
    return case.trained.sample(COLUMNS * arch.classes, labels=np.repeat(np.arange(arch.classes), COLUMNS).tolist())


def interpolations(case: Case) -> Images:
    """Each row goes from one latent to another in a straight line, with the label of its row."""
    generator, arch = case.trained.generator, case.trained.spec.arch
    rows = arch.classes or COLUMNS
    ends = generator.latents(2 * rows, seed=3)
    shares = np.linspace(0.0, 1.0, COLUMNS, dtype=np.float32)[None, :, None]
    z = (1 - shares) * ends[:rows, None] + shares * ends[rows:, None]
    labels = np.repeat(np.arange(arch.classes), COLUMNS).tolist() if arch.conditional else None
    images: Images = generator.decode(z.reshape(rows * COLUMNS, -1), labels)
    return images


def _saved(path: Path, images: Images, columns: int) -> Path:
    save_png(path, grid(images, columns))
    return path
