"""Workers of the resume contract: real processes that train on real data, and die by SIGKILL where they are told to."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from forked import context, free_port, join_group, leave_group

from trainer.checkpoint import Checkpointer, files, restore
from trainer.data.stream import open_dataset
from trainer.engine.distributed import Distributed
from trainer.engine.events import Event, Run, RunStarted, StepDone
from trainer.engine.loop import Loop
from trainer.engine.state import TrainState
from trainer.families.table import recipes
from trainer.launch.compose import closing
from trainer.spec import JobSpec, SpecError, with_overrides

PATIENCE_SECONDS = 200


@dataclass(frozen=True)
class Death:
    """Where the worker of `rank` dies. `update`: before G's optimiser in its n-th update of this process, when D has
    stepped already. `sync`: at the n-th fsync of the writing thread: 1 state, 2 meta data, 3 manifest, 4 folder, 5 parent."""

    rank: int = 0
    update: int | None = None
    sync: int | None = None


def small(recipe: str, workers: int) -> JobSpec:
    """The recipe with narrow nets, 10 steps, a checkpoint every 3."""
    spec = recipes()[recipe]()
    d_steps = min(spec.objective.d_steps, 2)
    changes = [
        "data.url=builtin:digits", "data.lanes=4", "train.batch=16", "train.micro_batch=null", "train.log_steps=2",
        "train.seed=3", f"train.images={10 * 16 * d_steps}", f"objective.d_steps={d_steps}", "checkpoint.every_steps=3",
        "checkpoint.keep_last=4",        f"resources.workers={workers}", "ema={decay: 0.9}",
    ]  # fmt: skip
    for name, value in spec.arch.model_dump().items():
        if isinstance(value, int) and ("width" in name or "hidden" in name):
            changes.append(f"arch.{name}=8")
    for attempt in (["arch.resolution=8"], []):
        try:
            return with_overrides(spec, changes + attempt)
        except SpecError as error:
            last = error
    raise last


def train(
    spec: JobSpec, directory: Path, cache: Path, death: Death | None = None, pause: int | None = None
) -> list[dict[str, Any]] | None:
    """Train in `spec.resources.workers` processes; what each reports, or None if one was killed. `pause`: see `attempt`."""
    world, port, forked = spec.resources.workers, free_port(), context()
    results = forked.Queue()
    workers = [
        forked.Process(
            target=_worker, args=(results, spec.model_dump_json(), rank, world, port, directory, cache, death, pause)
        )
        for rank in range(world)
    ]
    for worker in workers:
        worker.start()
    if death is not None:
        workers[death.rank].join(PATIENCE_SECONDS)
        for worker in workers:
            worker.kill()
            worker.join()
        assert workers[death.rank].exitcode == -signal.SIGKILL
        return None
    found = dict(results.get(timeout=PATIENCE_SECONDS) for _ in workers)
    for worker in workers:
        worker.join(30)
    return [json.loads(found[rank]) for rank in range(world)]


class Counter:
    """Listener that counts the steps of this process; the one it goes on from, told again, is another's."""

    steps = 0
    begin = 0

    def handle(self, event: Event, run: Run) -> None:
        if isinstance(event, RunStarted):
            self.begin = event.step
        self.steps += isinstance(event, StepDone) and event.step > self.begin

    def close(self) -> None:
        pass


class Pause:
    """Listener that asks for a stop after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def handle(self, event: Event, run: Run) -> None:
        if isinstance(event, StepDone) and event.step >= self.step:
            run.request_stop("asked to by the control plane")

    def close(self) -> None:
        pass


def _worker(
    results: Any,
    spec_json: str,
    rank: int,
    world: int,
    port: int,
    directory: Path,
    cache: Path,
    death: Death | None,
    pause: int | None,
) -> None:
    torch.set_num_threads(1)
    if world > 1:
        join_group(rank, world, port)
    spec = JobSpec.model_validate_json(spec_json)
    mine = death if death and death.rank == rank else None
    results.put((rank, json.dumps(attempt(spec, directory, cache, mine, pause if rank == 0 else None))))
    results.close()
    results.join_thread()
    leave_group()


def attempt(
    spec: JobSpec, directory: Path, cache: Path, death: Death | None = None, pause: int | None = None
) -> dict[str, int]:
    """Train on from the newest checkpoint, in this process: the step that it went on from, and the steps that it took.

    pause: rank 0 hears after that step that the run shall stop, as from the control plane's answer to its events.
    """
    distributed = Distributed.create(spec, world=spec.resources.workers)
    with distributed.main_first():
        dataset = open_dataset(spec, cache_dir=cache)
    state = TrainState.create(spec, distributed)
    restored = restore(state, directory, distributed)
    first = state.clock.step
    if death is not None:
        _arm(death, state)
    counter = Counter()
    listeners = [Checkpointer(directory, spec, restored.warnings), counter, *([Pause(pause)] if pause else [])]
    with closing(listeners):
        Loop(spec, state, distributed, dataset, listeners).run()
    return {"first": first, "steps": counter.steps}


def _arm(death: Death, state: TrainState) -> None:
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    calls = {"update": 0, "sync": 0}

    def before_update(*args: Any) -> None:
        calls["update"] += 1
        if calls["update"] == death.update:
            die()

    original = files._sync

    def sync(path: Path) -> None:
        calls["sync"] += 1
        if calls["sync"] == death.sync:
            die()
        original(path)

    state.players["G"].optimizer.register_step_pre_hook(before_update)
    files._sync = sync
