"""Sample grids from a fixed latent, so that a person sees the same faces grow up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.engine.events import Event, Run, SamplesDrawn, StepDone
from trainer.engine.sampling import CodeValues, sample
from trainer.engine.standing import standing
from trainer.images import GridFacts, grid, save_png
from trainer.spec import JobSpec
from trainer.wire import GRIDS

SEED = 0
"""The grids' latents do not depend on the job's seed, so grids of different jobs compare."""


def sample_path(step: int) -> str:
    """Where the grid of a step lies, relative to the job's folder."""
    return f"{GRIDS}/step-{step:09d}.png"


@dataclass(frozen=True)
class Layout:
    """What a grid shows: `count` images in rows of `columns`, with these labels [count] and codes; all rows are full."""

    columns: int
    count: int
    labels: NDArray[np.int64] | None = None
    codes: Mapping[str, CodeValues] = field(default_factory=dict)


def layout(spec: JobSpec) -> Layout:
    """A row of the grid is a class; without classes a value of the first categorical code; without codes it is nothing.

    At most `samples.count` images, so with more classes or values than that only the first ones are drawn.
    """
    count, classes = spec.samples.count, spec.arch.classes
    code = next((code for code in spec.arch.latent.codes if code.kind == "categorical"), None)
    rows = classes or (code.size if code else 0)
    if not rows:
        return Layout(math.ceil(math.sqrt(count)), count)
    columns = max(1, count // rows)
    values = np.repeat(np.arange(min(rows, count)), columns)
    if classes or code is None:
        return Layout(columns, len(values), labels=values)
    return Layout(columns, len(values), codes={code.name: values.astype(np.float64)})


class SampleGrids:
    """Listener that draws, saves and announces a grid every `samples.every_steps` steps and after the last."""

    def __init__(self, spec: JobSpec, folder: Path) -> None:
        self._every = spec.samples.every_steps
        self._layout = layout(spec)
        self._folder = folder

    def handle(self, event: Event, run: Run) -> None:
        """Draw if this step is due."""
        if not isinstance(event, StepDone) or not (event.last or event.step % self._every == 0):
            return
        images = sample(
            run.state.family,
            run.spec.arch,
            standing(run.state.family, run.spec, run.state.generator),
            n=self._layout.count,
            seed=SEED,
            labels=self._layout.labels,
            codes=self._layout.codes,
        )
        picture = grid(images, self._layout.columns)
        facts = GridFacts.of(images, self._layout.columns, event.step, event.images)
        save_png(self._folder / sample_path(event.step), picture, facts)
        run.emit(SamplesDrawn(event.step, event.images, picture))

    def close(self) -> None:
        """Nothing to release."""
