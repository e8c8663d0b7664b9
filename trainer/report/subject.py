"""What a report is about.

Shape legend: n images, Z latent dimensions, H height, W width, C channels.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.data.stream import Dataset
from trainer.evaluate.features import Extractor
from trainer.families.arch import Arch
from trainer.report.errors import LeftOut
from trainer.report.history import History
from trainer.spec import JobSpec

Images = NDArray[np.uint8]
Latents = NDArray[np.float32]


class Model(Protocol):
    """What a package's `Generator` can do. Everything a section draws comes through this."""

    def sample(
        self,
        n: int | None = None,
        seed: int = 0,
        labels: Sequence[int] | None = None,
        truncation: float | None = None,
        start: int = 0,
    ) -> Images:
        """Images `start` … `start + n - 1` of `seed`, uint8 [n, H, W, C]."""
        ...

    def latents(self, n: int = 1, seed: int = 0, truncation: float | None = None, start: int = 0) -> Latents:
        """Their latents, float32 [n, Z]."""
        ...

    def decode(self, z: Latents, labels: Sequence[int] | None = None) -> Images:
        """Images of latents, uint8 [n, H, W, C]."""
        ...

    def encode(self, images: Images) -> Latents:
        """Latents of images, float32 [n, Z]. Raises ValueError without an encoder."""
        ...


@dataclass(frozen=True)
class Effort:
    """How much a report may draw. The counts of its sections follow from it and are written beside what they gave."""

    seconds: float
    """What the sections that draw thousands of images may take together, about, on this machine."""
    samples: int
    """Images for a score or a statistic, if time allows."""
    advice: str = ""
    """Where more may be had."""


QUICK = Effort(seconds=8.0, samples=1000, advice="; `agon report` of the model takes the time")
"""Within a job: it ends that much later."""
FULL = Effort(seconds=180.0, samples=5000)
"""On request."""
LEAST = 200
"""Fewer images than this give no score worth a look."""


@dataclass(frozen=True)
class Subject:
    """One training, with what is known of it. What is missing leaves its sections out."""

    spec: JobSpec
    name: str
    model: Model | None = None
    class_names: Sequence[str] = ()
    """Names of the data's classes, also where the model knows no labels."""
    history: History = field(default_factory=History)
    scores: Mapping[str, float] = field(default_factory=dict)
    """Of this very model."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    """Lineage for a person: job, images shown, wall time, commit."""
    dataset: Dataset | None = None
    features: Extractor | None = None
    held_out: Dataset | None = None
    """Images that were not trained on, of the same kind."""
    missing: str = "the training data is not at hand"
    """Why `dataset` or `features` are None."""
    effort: Effort = FULL
    grids: Path | None = None
    """Folder of the sample grids that were kept; None: none are at hand."""
    ended: bool = True
    """Whether the training is over."""

    @property
    def arch(self) -> Arch:
        """The model's arch."""
        return self.spec.arch

    @property
    def images_to_look_at(self) -> Model:
        """The model. Raises LeftOut if nothing has been trained yet."""
        if self.model is None:
            raise LeftOut("there is no trained model yet: no package and no checkpoint")
        return self.model

    @property
    def data(self) -> Dataset:
        """The training data. Raises LeftOut without."""
        if self.dataset is None:
            raise LeftOut(self.missing)
        return self.dataset

    @property
    def eye(self) -> Extractor:
        """The feature extractor. Raises LeftOut without."""
        if self.features is None:
            raise LeftOut(self.missing)
        return self.features

    @cached_property
    def seconds_an_image(self) -> float:
        """What one generated image costs here with its features, measured once."""
        model, eye = self.images_to_look_at, self.features
        for _ in range(2):  # the first round warms up
            begun = time.perf_counter()
            images = model.sample(n=32)
            if eye is not None:
                eye(torch.from_numpy(images).permute(0, 3, 1, 2))
        return (time.perf_counter() - begun) / len(images)

    def affordable(self, share: float, sets: int = 1, least: int = LEAST) -> int:
        """Images that each of `sets` sets may have within `share` of the effort. Raises LeftOut if that is below `least`."""
        count = int(share * self.effort.seconds / self.seconds_an_image / sets)
        if count < least:
            needed = least * sets * self.seconds_an_image
            raise LeftOut(f"it takes {needed:,.0f} s or more here{self.effort.advice}")
        return min(count, self.effort.samples)

    def class_name(self, label: int) -> str:
        """A class's name, or its number."""
        return self.class_names[label] if label < len(self.class_names) else str(label)
