"""What a finished training left in its job's folder, ready to be measured.

Shape legend: n images, H height, W width, C channels, B batch.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.checkpoint import latest
from trainer.checkpoint.files import step_path, steps
from trainer.checkpoint.manifest import META, verify
from trainer.checkpoint.nets import Loaded, load_nets
from trainer.engine.sampling import sample
from trainer.errors import CheckpointError
from trainer.spec import JobSpec, load_spec

SEED = 1
"""Of the samples that are measured; the platform's own scores use the training's seed."""


class Unfinished(Exception):  # noqa: N818 — reads as what it is
    """The folder is not one of a finished training."""


class Trained:
    """One finished job, by its folder. Raises Unfinished where the folder lacks what a finished job has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / "model" / "config.json").is_file():
            raise Unfinished(f"{folder} holds no model/: the training has not ended there, or was stopped early")
        self.spec: JobSpec = load_spec(str(folder / "model" / "spec.yaml"))

    @cached_property
    def generator(self) -> Any:
        """The published package's `Generator`, by the package's own code: what a user of the model would get."""
        path = self.folder / "model" / "generator.py"
        found = importlib.util.spec_from_file_location("agon_reproduced_generator", path)
        if found is None or found.loader is None:
            raise Unfinished(f"{path} can't be imported")
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        return module.Generator(self.folder / "model")

    @cached_property
    def nets(self) -> Loaded:
        """Every player's net, from the newest checkpoint."""
        path = latest(self.folder / "checkpoints")
        if path is None:
            raise Unfinished(f"{self.folder / 'checkpoints'} holds no checkpoint")
        return load_nets(path)

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """Every event that the job wrote, in order; a line cut short by a crash is left out."""
        found = []
        for line in (self.folder / "events.jsonl").read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def kept(self) -> list[AtCheckpoint]:
        """The training as each undamaged checkpoint in its folder has it, oldest first; the last one is what was published."""
        directory = self.folder / "checkpoints"
        found = []
        for step in steps(directory):
            path = step_path(directory, step)
            try:
                verify(path)
            except CheckpointError:
                continue
            found.append(AtCheckpoint(self.folder, path))
        return found

    def sample(
        self, n: int, labels: Sequence[int] | None = None, start: int = 0, truncation: float | None = None
    ) -> NDArray[np.uint8]:
        """n images of the published generator, uint8 [n, H, W, C]; truncation as its package has it."""
        images: NDArray[np.uint8] = self.generator.sample(
            n=n, seed=SEED, labels=labels, start=start, truncation=truncation
        )
        return images

    def inputs(self, images_nHWC: NDArray[np.uint8]) -> Tensor:
        """Images as the nets take them: float32 BCHW in the family's pixel range."""
        low, high = self.spec.arch.pixel_range
        x = torch.from_numpy(images_nHWC).permute(0, 3, 1, 2).float().div(255.0)
        return x * (high - low) + low

    @property
    def images(self) -> int:
        """Real images that the training was shown."""
        return max((int(event["images"]) for event in self.events), default=0)

    @property
    def lineage(self) -> dict[str, Any]:
        """Job, step, images, digests and code of the package."""
        lineage: dict[str, Any] = json.loads((self.folder / "model" / "scores.json").read_text())["lineage"]
        return lineage

    @property
    def wall_seconds(self) -> float:
        """How long it ran: from the first start to the last event, without the pauses before the other starts."""
        ran = 0.0
        for before, event in pairwise(self.events):
            if event["kind"] != "started":
                ran += (_time(event) - _time(before)).total_seconds()
        return ran

    @property
    def starts(self) -> int:
        """How often it was started: 1, and one more for every time that it was interrupted and went on."""
        return sum(event["kind"] == "started" for event in self.events)

    @cached_property
    def ticks(self) -> list[dict[str, Any]]:
        """Progress events with their metrics, without those that a restart from a checkpoint repeated."""
        return _unrepeated(self.events, "progress")

    @cached_property
    def scores(self) -> list[dict[str, Any]]:
        """Events of the platform's own evaluations: `images`, `data.scores`, `data.provenance`."""
        return _unrepeated(self.events, "scores")

    def metric(self, name: str) -> list[tuple[int, float]]:
        """(images, value) at each tick that has the metric."""
        return [
            (int(tick["images"]), float(tick["data"]["metrics"][name]))
            for tick in self.ticks
            if name in tick["data"]["metrics"]
        ]

    def score(self, name: str) -> list[tuple[int, float]]:
        """(images, value) of each evaluation that has the score."""
        return [
            (int(e["images"]), float(e["data"]["scores"][name])) for e in self.scores if name in e["data"]["scores"]
        ]


class AtCheckpoint(Trained):
    """A finished training as one of its checkpoints has it: nets, samples and images shown are that state's."""

    def __init__(self, folder: Path, path: Path) -> None:
        super().__init__(folder)
        self.path = path

    @cached_property
    def nets(self) -> Loaded:
        """Every player's net, from this checkpoint. Raises CheckpointError."""
        return load_nets(self.path)

    def sample(
        self, n: int, labels: Sequence[int] | None = None, start: int = 0, truncation: float | None = None
    ) -> NDArray[np.uint8]:
        """n images of this state's generator, uint8 [n, H, W, C]: as a package of it would draw them."""
        nets = self.nets
        return sample(
            nets.family,
            self.spec.arch,
            nets.net("G"),
            n=n,
            seed=SEED,
            labels=labels,
            start=start,
            truncation=truncation,
        )

    @property
    def images(self) -> int:
        """Real images that the training was shown until here."""
        return int(json.loads((self.path / META).read_bytes())["clock"]["images"])


def _time(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["time"])


def _unrepeated(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The last event of the kind at each step, in the order of the steps."""
    by_step = {int(event["step"]): event for event in events if event["kind"] == kind}
    return [by_step[step] for step in sorted(by_step)]
