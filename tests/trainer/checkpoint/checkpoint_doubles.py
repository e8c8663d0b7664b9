"""A run that a Checkpointer can listen to, without training."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Tensor

from trainer.engine.events import Event, RunFinished, RunStarted, StepDone, Tick
from trainer.families.table import recipes
from trainer.spec import JobSpec, with_overrides


def small_spec(*changes: str) -> JobSpec:
    base = [
        "arch.resolution=8",
        "arch.g_hidden=8",
        "arch.d_hidden=8",
        "checkpoint.every_steps=2",
        "checkpoint.keep_last=2",
    ]
    return with_overrides(recipes()["gan-digits"](), base + list(changes))


class FakeState:
    """Tensors that a test changes at will."""

    def __init__(self) -> None:
        self.values = {"net/G/w": torch.zeros(4), "net/G/steps": torch.tensor(0)}
        self.images = 0

    def tensors(self) -> dict[str, Tensor]:
        return self.values

    def meta(self) -> dict[str, Any]:
        return {"clock": {"images": self.images}, "extras": {}, "spec": {}}


class FakeRun:
    """Hands events to one listener, in order, as the loop does."""

    def __init__(self, listener: Any, distributed: Any, spec: JobSpec) -> None:
        self.listener, self.distributed, self.spec = listener, distributed, spec
        self.state = FakeState()
        self.emitted: list[Event] = []
        self.queue: deque[Event] = deque()

    def emit(self, event: Event) -> None:
        self.emitted.append(event)
        self.queue.append(event)

    def tell(self, event: Event) -> None:
        self.queue.append(event)
        while self.queue:
            self.listener.handle(self.queue.popleft(), self)

    def start(self, step: int = 0) -> None:
        self.tell(RunStarted(step, step * 8, total_images=1000, resumed=step > 0))

    def step(self, step: int, last: bool = False) -> None:
        self.state.values["net/G/w"].fill_(float(step))
        self.state.images = step * 8
        self.tell(StepDone(step, step * 8, last=last))

    def tick(self, step: int) -> None:
        self.tell(Tick(step, step * 8, {}, 1.0, 1.0, 1000))

    def finish(self, step: int) -> None:
        self.tell(RunFinished(step, step * 8, outcome="completed"))
