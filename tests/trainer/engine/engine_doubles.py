"""Small doubles for the engine's tests: a dataset that is a pure function of the batch number, specs, a recorder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from types import SimpleNamespace
from typing import Any

import torch
from forked import context, free_port, join_group, leave_group

from trainer.data.stream import RealBatch
from trainer.engine.distributed import Distributed
from trainer.engine.events import Event, Run
from trainer.engine.metrics import Means, Stopwatch
from trainer.engine.state import TrainState
from trainer.engine.step import Stepper
from trainer.families.table import recipes
from trainer.spec import JobSpec, with_overrides


class FixedDataset:
    """Global batch t is random bytes seeded by t; ranks get contiguous rows."""

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.skipped: dict[str, str] = {}
        self.replaced: Callable[[int, int], int] = lambda rank, t: 0
        self.starts: list[int] = []
        self.closed = False
        self.manifest = SimpleNamespace(samples=7)

    def images(self, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        arch, source = self.spec.arch, torch.Generator().manual_seed(0)
        shape = (self.manifest.samples, arch.channels, arch.resolution, arch.resolution)
        images = torch.randint(256, shape, generator=source, dtype=torch.uint8)
        return images[list(indices)], torch.zeros(len(indices), dtype=torch.int64)

    def stream(self, batch: int, seed: int, rank: int, world: int, start: int) -> Iterator[RealBatch]:
        self.starts.append(start)
        arch, rows = self.spec.arch, slice(rank * batch // world, (rank + 1) * batch // world)
        try:
            for t in count(start):
                source = torch.Generator().manual_seed(t)
                images = torch.randint(
                    256, (batch, arch.channels, arch.resolution, arch.resolution), generator=source, dtype=torch.uint8
                )
                labels = torch.randint(max(1, arch.classes), (batch,), generator=source)
                yield RealBatch(images[rows], labels[rows], t, self.replaced(rank, t))
        finally:
            self.closed = True


class Recorder:
    """Listener that keeps all events and may act on them."""

    def __init__(self, act: Callable[[Event, Run], None] | None = None) -> None:
        self.events: list[Event] = []
        self.act = act
        self.closed = 0

    def handle(self, event: Event, run: Run) -> None:
        self.events.append(event)
        if self.act:
            self.act(event, run)

    def close(self) -> None:
        self.closed += 1


def gan_spec(*changes: str) -> JobSpec:
    """A tiny MLP GAN: no batch norm; dropout off, so that rows are independent."""
    base = [
        "arch.resolution=8", "arch.g_hidden=16", "arch.d_hidden=8", "arch.input_dropout=0.0", "arch.hidden_dropout=0.0",
        "arch.latent.dim=8", "data.lanes=4", "train.batch=8", "train.images=64", "train.log_steps=2",
    ]  # fmt: skip
    return with_overrides(recipes()["gan-digits"](), base + list(changes))


def dcgan_spec(*changes: str) -> JobSpec:
    """A tiny DCGAN with batch norm in both nets."""
    base = [
        "arch.resolution=8", "arch.g_width=8", "arch.d_width=8", "arch.latent.dim=8", "data.lanes=4", "train.batch=8",
        "train.images=64", "train.log_steps=2", "resources.workers=1",
    ]  # fmt: skip
    return with_overrides(recipes()["dcgan-digits"](), base + list(changes))


def stepper(spec: JobSpec, distributed: Distributed, state: TrainState | None = None) -> Stepper:
    """A stepper on a fresh (or given) state and the double dataset."""
    state = state or TrainState.create(spec, distributed)
    batches = FixedDataset(spec).stream(
        spec.train.batch, spec.train.seed, distributed.rank, distributed.world, state.clock.batches
    )
    return Stepper(state, distributed, batches, Means(), Stopwatch())


def parameters(state: TrainState) -> dict[str, torch.Tensor]:
    """Copies of all tensors of the state."""
    return {name: tensor.detach().clone() for name, tensor in state.tensors().items()}


def spawn(world: int, target: Callable[..., Any], *args: Any) -> list[Any]:
    """Run target(rank, world, *args) in `world` processes of one gloo group; their results in rank order."""
    forked, port = context(), free_port()
    results, read = forked.Queue(), forked.Event()
    processes = [
        forked.Process(target=_worker, args=(results, read, rank, world, port, target, args)) for rank in range(world)
    ]
    for process in processes:
        process.start()
    found: dict[int, Any] = {}
    for _ in processes:  # read before joining: a child does not end while its result waits in the pipe
        rank, value = results.get(timeout=120)
        found[rank] = value
    read.set()
    for process in processes:
        process.join(30)
        process.kill()
    for rank in range(world):
        if isinstance(found.get(rank), Exception):
            raise found[rank]
    return [found[rank] for rank in range(world)]


def _worker(
    results: Any, read: Any, rank: int, world: int, port: int, target: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    join_group(rank, world, port)
    try:
        results.put((rank, target(rank, world, *args)))
    except Exception as error:
        results.put((rank, RuntimeError(f"{type(error).__name__}: {error}")))
    read.wait(120)  # tensors are handed over by the process that they are of
    leave_group()
