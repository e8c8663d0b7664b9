"""Trains a spec in this process, as the launcher does but with no listener but one, for tests of what a family learns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from trainer.data.stream import open_dataset
from trainer.engine.distributed import Distributed
from trainer.engine.events import Event, Run, Tick
from trainer.engine.loop import Loop
from trainer.engine.state import TrainState
from trainer.spec import JobSpec


@dataclass
class Learned:
    """The trained state and every tick's metrics by name, in order."""

    state: TrainState
    curves: dict[str, list[float]] = field(default_factory=dict)

    def handle(self, event: Event, run: Run) -> None:
        if isinstance(event, Tick):
            for name, value in event.metrics.items():
                self.curves.setdefault(name, []).append(value)

    def close(self) -> None:
        """Nothing to release."""


def learn(spec: JobSpec, cache: Path) -> Learned:
    """Train to the end."""
    distributed = Distributed.create(spec, world=1)
    learned = Learned(TrainState.create(spec, distributed))
    Loop(spec, learned.state, distributed, open_dataset(spec, cache_dir=cache), [learned]).run()
    return learned
