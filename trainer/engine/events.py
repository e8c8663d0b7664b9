"""What the loop tells its listeners, and what a listener may ask of the loop.

The loop calls every listener on every rank, in the order they were attached, in the training thread: `handle` must
return fast and must not synchronise with the device on `StepDone`. Collective work (evaluation) is allowed on any
event, because every rank sees the same events in the same order. An exception from `handle` ends the run.

    RunStarted · ([Tick] · StepDone)* · RunFinished            listeners may emit in between:
    SamplesDrawn · CheckpointWritten · Scored · Published · ReportWritten · Observed · Warned · LimitReached

After a roll back the same process begins again: RolledBack · RunStarted(resumed) · …
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from trainer.data.stream import Dataset
    from trainer.engine.distributed import Distributed
    from trainer.engine.state import TrainState
    from trainer.spec import JobSpec

Outcome = Literal["completed", "stopped"]


@dataclass(frozen=True)
class Event:
    """Base. `step` updates of the generator done, `images` real images shown, over the whole training."""

    step: int
    images: int


@dataclass(frozen=True)
class RunStarted(Event):
    """Before the first step of this process."""

    total_images: int
    resumed: bool


@dataclass(frozen=True)
class StepDone(Event):
    """After every step. No value has left the device for it."""

    last: bool
    """Whether the run ends with this step (length reached, or a stop agreed by all ranks)."""


@dataclass(frozen=True)
class Tick(Event):
    """Every `train.log_steps` steps and after the last: means over the steps since the last tick, over all ranks."""

    metrics: Mapping[str, float]
    images_per_second: float
    eta_seconds: float
    total_images: int
    shares: Mapping[str, float] = field(default_factory=dict)
    """Shares of wall time since the last tick: `data`, `compute`, `optimizer`, `listeners`; the rest is host overhead."""


@dataclass(frozen=True)
class SamplesDrawn(Event):
    """A grid from the fixed latent. `images` in the base counts; `grid` is uint8 HWC (or HW)."""

    grid: NDArray[np.uint8]


@dataclass(frozen=True)
class CheckpointWritten(Event):
    """A checkpoint is complete on disk."""

    path: Path


@dataclass(frozen=True)
class Scored(Event):
    """An evaluation of the EMA generator."""

    scores: Mapping[str, float]
    provenance: Mapping[str, Any]


@dataclass(frozen=True)
class Published(Event):
    """A version went to the registry."""

    model: str
    version: str
    champion: bool
    verdict: str
    scores: Mapping[str, float]


@dataclass(frozen=True)
class ReportWritten(Event):
    """The job's report is new."""

    path: Path
    seconds: float
    """How long it took, which is how much later the next step or the end came."""


@dataclass(frozen=True)
class Warned(Event):
    """Something a person should know that does not end the run (a skipped shard, MLflow away)."""

    message: str


@dataclass(frozen=True)
class LimitReached(Event):
    """The run ends itself by a limit of its spec; the stop is asked for beside it."""

    limit: str
    reason: str


@dataclass(frozen=True)
class Observed(Event):
    """What the sentinel measured, the same on every rank: `sentinel/…` by name, finite."""

    metrics: Mapping[str, float]


@dataclass(frozen=True)
class RolledBack(Event):
    """The training has returned to `step`, and goes on from there with other rates and data; told before `RunStarted`."""

    reason: str
    from_step: int
    lr_factor: float
    """On the spec's learning rates from now on: of all roll backs together."""
    count: int
    """Number of this roll back, from 1, over all restarts."""


@dataclass(frozen=True)
class RunFinished(Event):
    """After the last step; everything has been written."""

    outcome: Outcome


class Run(Protocol):
    """What a listener sees of the loop."""

    spec: JobSpec
    state: TrainState
    distributed: Distributed
    dataset: Dataset

    def emit(self, event: Event) -> None:
        """Tell all listeners (queued behind the current event)."""
        ...

    @property
    def stop_reason(self) -> str | None:
        """Why this rank wants to stop: the first reason that was given; None: it doesn't."""
        ...

    def request_stop(self, reason: str) -> None:
        """Ask for an orderly end; honoured by all ranks together, at the next tick or within about 2 s."""
        ...


class Listener(Protocol):
    """Something that listens to the loop."""

    def handle(self, event: Event, run: Run) -> None:
        """React to one event."""
        ...

    def close(self) -> None:
        """Called once, also after a failure: flush and stop threads."""
        ...
