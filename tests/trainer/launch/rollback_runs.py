"""Small trainings that collapse where a test says so, through the whole wiring, alone or in two processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from forked import context, free_port, join_group, leave_group

from trainer.engine.distributed import Distributed
from trainer.engine.events import Event, Observed, RolledBack, Run, StepDone, Warned
from trainer.families.table import recipes
from trainer.launch import compose
from trainer.spec import JobSpec, with_overrides
from trainer.wire import JobFile

BASE = [
    "arch.resolution=8", "arch.g_hidden=16", "arch.d_hidden=8", "data.lanes=4", "train.batch=16", "train.images=640",
    "train.log_steps=5", "checkpoint.every_steps=10", "checkpoint.keep_last=9", "samples.every_steps=1000",
    "evaluation.metrics=[]", "ema={decay: 0.9}", "sentinel.every_steps=5", "sentinel.policy=rollback",
    "sentinel.least_diversity=null", "data.held_out=200", "data.decode_threads=0",
]  # fmt: skip
"""40 steps, a checkpoint every 10, a look every 5."""


def small(*changes: str) -> JobSpec:
    return with_overrides(recipes()["gan-digits"](), [*BASE, *changes])


class Quiet:
    """In the place of the report, which would cost more than the training."""

    def handle(self, event: Event, run: Run) -> None:
        pass

    def close(self) -> None:
        pass


class Hook:
    """Listener that does something to the run after a step, as often as it is told of it; keeps what it hears."""

    def __init__(self, act: Callable[[int, Run], None] = lambda step, run: None) -> None:
        self.act = act
        self.heard: list[Event] = []

    def handle(self, event: Event, run: Run) -> None:
        self.heard.append(event)
        if isinstance(event, StepDone):
            self.act(event.step, run)

    def close(self) -> None:
        pass

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.heard if isinstance(event, kind)]


def poison(at: int, times: int = 1) -> Callable[[int, Run], None]:
    """Makes a weight of G NaN after step `at`, in the first `times` tries."""

    def act(step: int, run: Run) -> None:
        if step == at and run.state.correction.count < times:
            with torch.no_grad():
                run.state.players["G"].parameters[0].view(-1)[0] = float("nan")

    return act


def one_picture(at: int) -> Callable[[int, Run], None]:
    """Makes G draw white pictures alone from the end of step `at` on, in the first try.

    Its output's biases are where a sigmoid is 1 and has no slope, in any arithmetic, so no update leads out of there.
    """

    def act(step: int, run: Run) -> None:
        if step == at and run.state.correction.count == 0:
            with torch.no_grad():
                run.state.players["G"].net.get_parameter("layers.4.bias").fill_(50.0)

    return act


def train(spec: JobSpec, folder: Path, cache: Path, hook: Hook | None = None) -> str:
    job = JobFile(job_id="j", attempt=1, spec=spec, job_dir=str(folder), cache_dir=str(cache))
    compose.Reporting = lambda *arguments: Quiet()  # type: ignore[misc,assignment]
    return compose.train(job, Distributed.create(spec, world=1), [hook or Hook()])


def train_together(spec: JobSpec, folder: Path, cache: Path, sick_rank: int) -> list[dict[str, Any]]:
    """In two processes; only `sick_rank` is poisoned, at step 23. What each says that it did and heard."""
    port, forked = free_port(), context()
    results = forked.Queue()
    arguments = [(results, spec.model_dump_json(), rank, port, folder, cache, sick_rank) for rank in range(2)]
    workers = [forked.Process(target=_worker, args=each) for each in arguments]
    for worker in workers:
        worker.start()
    found = dict(results.get(timeout=250) for _ in workers)
    for worker in workers:
        worker.join(30)
    return [json.loads(found[rank]) for rank in range(2)]


def _worker(results: Any, spec_json: str, rank: int, port: int, folder: Path, cache: Path, sick_rank: int) -> None:
    join_group(rank, 2, port)
    spec = JobSpec.model_validate_json(spec_json)
    hook = Hook(poison(23) if rank == sick_rank else lambda step, run: None)
    job = JobFile(job_id="j", attempt=1, spec=spec, job_dir=str(folder), cache_dir=str(cache))
    compose.Reporting = lambda *arguments: Quiet()  # type: ignore[misc,assignment]
    outcome = compose.train(job, Distributed.create(spec, world=2), [hook])
    said = {
        "outcome": outcome,
        "steps": [event.step for event in hook.of(StepDone)],
        "observed": [[event.step, dict(event.metrics)] for event in hook.of(Observed)],
        "rolled_back": [asdict(event) for event in hook.of(RolledBack)],
    }
    results.put((rank, json.dumps(said)))
    results.close()
    results.join_thread()
    leave_group()


def warnings(hook: Hook) -> Sequence[str]:
    return [event.message for event in hook.of(Warned)]
