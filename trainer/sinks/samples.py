"""Sample grids from a fixed latent, so that a person sees the same faces grow up."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.engine.events import Event, Run, SamplesDrawn, StepDone
from trainer.engine.sampling import sample
from trainer.images import grid, save_png
from trainer.spec import JobSpec

SEED = 0
"""The grids' latents do not depend on the job's seed, so grids of different jobs compare."""


def sample_path(step: int) -> str:
    """Where the grid of a step lies, relative to the job's folder."""
    return f"samples/step-{step:09d}.png"


def layout(spec: JobSpec) -> tuple[int, NDArray[np.int64] | None]:
    """Columns of the grid, and the labels of its images: every row is a class, all rows are full. None without classes.

    At most `samples.count` images, so with more classes than that only the first ones are drawn.
    """
    count, classes = spec.samples.count, spec.arch.classes
    if not classes:
        return math.ceil(math.sqrt(count)), None
    columns = max(1, count // classes)
    return columns, np.repeat(np.arange(min(classes, count)), columns)


class SampleGrids:
    """Listener that draws, saves and announces a grid every `samples.every_steps` steps and after the last."""

    def __init__(self, spec: JobSpec, folder: Path) -> None:
        self._every = spec.samples.every_steps
        self._columns, self._labels = layout(spec)
        self._count = spec.samples.count if self._labels is None else len(self._labels)
        self._folder = folder

    def handle(self, event: Event, run: Run) -> None:
        """Draw if this step is due."""
        if not isinstance(event, StepDone) or not (event.last or event.step % self._every == 0):
            return
        images = sample(
            run.state.family, run.spec.arch, run.state.generator, n=self._count, seed=SEED, labels=self._labels
        )
        picture = grid(images, self._columns)
        save_png(self._folder / sample_path(event.step), picture)
        run.emit(SamplesDrawn(event.step, event.images, picture))

    def close(self) -> None:
        """Nothing to release."""
