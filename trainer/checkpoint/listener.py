"""Saves the state beside training: a snapshot in the step path, a thread that writes, keep-last-k and best."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch

from trainer.checkpoint.files import step_path, steps, write
from trainer.checkpoint.keep import Best, metric_of, ranked
from trainer.checkpoint.manifest import META
from trainer.checkpoint.room import Room
from trainer.checkpoint.snapshot import Snapshot, Snapshots
from trainer.engine.events import (
    CheckpointWritten,
    Event,
    Run,
    RunFinished,
    RunStarted,
    Scored,
    StepDone,
    Tick,
    Warned,
)
from trainer.errors import classify, heard
from trainer.retention import superseded
from trainer.spec import JobSpec
from trainer.wire import FailureKind

RUNNING, DONE, FAILED = range(3)
"""What rank 0 tells the other ranks of a write."""


@dataclass(frozen=True)
class Pending:
    """A write that training has not yet heard the end of. `future` is rank 0's alone."""

    step: int
    images: int
    future: Future[Path] | None


class Checkpointer:
    """Listener on every rank; rank 0 writes. `CheckpointWritten` is emitted on all ranks at the same tick.

    At most one write is under way: a checkpoint that is due earlier waits for it. The last one is awaited at
    `RunFinished`. A write's error ends the run at the next tick, on every rank.
    """

    def __init__(self, directory: Path, spec: JobSpec, warnings: Sequence[str] = ()) -> None:
        self._directory, self._spec, self._warnings = directory, spec, warnings
        self._metric = metric_of(spec)
        self._snapshots = Snapshots()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Pending | None = None
        self._saved: int | None = None
        self._best: Best | None = None
        self._shown: dict[int, int] = {}
        self._room, self._short = Room(), ""

    def handle(self, event: Event, run: Run) -> None:
        """Save when due, report at ticks, mark the best when its score is known."""
        if isinstance(event, RunStarted):
            self._start(event, run)
        elif isinstance(event, StepDone):
            if event.last or event.step % self._spec.checkpoint.every_steps == 0:
                self._save(event, run)
        elif isinstance(event, Tick):
            self._settle(run, wait=False)
        elif isinstance(event, Scored):
            self._score(event, run)
        elif isinstance(event, RunFinished):
            self._settle(run, wait=True)

    def close(self) -> None:
        """Wait for a write that is under way, so that it isn't lost after a failure elsewhere."""
        self._writer.shutdown(wait=True)

    def _start(self, event: RunStarted, run: Run) -> None:
        self._saved = event.step if event.resumed else None
        best = Best.read(self._directory)
        here = set(steps(self._directory))
        self._best = best.without([step for step in best.steps if step not in here]) if best else None
        for warning in self._warnings:
            run.emit(Warned(event.step, event.images, warning))

    def _save(self, event: Event, run: Run) -> None:
        if self._saved == event.step:
            return  # restarted from it, and told of its end again
        self._settle(run, wait=True)
        future = None
        if run.distributed.is_main:
            snapshot = self._snapshots.take(run.state.tensors())
            future = self._writer.submit(self._write, event.step, self._saved or 0, snapshot, run.state.meta())
        self._pending, self._saved = Pending(event.step, event.images, future), event.step

    def _write(self, step: int, since: int, snapshot: Snapshot, meta: dict[str, Any]) -> Path:
        snapshot.wait()
        snapshot.check_finite(since, step)
        path = write(self._directory, step, snapshot.tensors, meta)
        self._prune()
        self._short = self._room.short(path)
        return path

    def _settle(self, run: Run, *, wait: bool) -> None:
        """Hear how the pending write went; all ranks together. Raises what it raised."""
        pending = self._pending
        if pending is None:
            return
        status = _status(pending.future, wait) if run.distributed.is_main else 0
        status = int(run.distributed.sum(torch.tensor(status, device=run.distributed.device)))
        if status == RUNNING:
            return
        self._pending = None
        if status == DONE:
            path = step_path(self._directory, pending.step)
            run.emit(CheckpointWritten(pending.step, pending.images, path))
            if self._short:
                run.emit(Warned(pending.step, pending.images, self._short))
            return
        self._raise(pending, run)

    def _raise(self, pending: Pending, run: Run) -> NoReturn:
        """What failed on rank 0, on every rank: the others tell its kind and reason, whoever is heard first."""
        error = pending.future.exception() if pending.future is not None else None
        kind, reason = run.distributed.share("\n".join(classify(error)) if error is not None else "").split("\n", 1)
        raise error or heard(FailureKind(kind), f"worker 0: {reason}")

    def _score(self, event: Scored, run: Run) -> None:
        """Keep the checkpoint of the scored step if it is among the best. Saves one if that step had none."""
        value = event.scores.get(self._metric) if self._metric is not None else None
        if self._metric is None or value is None:
            return
        best = ranked(self._best, self._metric, event.step, value, self._spec.checkpoint.keep.best)
        if best is None:
            return
        self._save(event, run)
        self._settle(run, wait=True)
        self._best = best
        if run.distributed.is_main:
            self._best.write(self._directory)
            self._prune()

    def _prune(self) -> None:
        keep = self._spec.checkpoint.keep
        saved = {step: self._images(step) if keep.every_images else None for step in steps(self._directory)}
        for step in superseded(saved, self._best.steps if self._best else (), keep):
            shutil.rmtree(step_path(self._directory, step), ignore_errors=True)

    def _images(self, step: int) -> int | None:
        """Images shown at the checkpoint of a step, from its file the first time."""
        if step not in self._shown:
            try:
                meta = json.loads((step_path(self._directory, step) / META).read_bytes())
                self._shown[step] = int(meta["clock"]["images"])
            except (OSError, ValueError, LookupError, TypeError):
                return None  # damaged
        return self._shown[step]


def _status(future: Future[Path] | None, wait: bool) -> int:
    if future is None or not (wait or future.done()):
        return RUNNING
    return DONE if future.exception() is None else FAILED
