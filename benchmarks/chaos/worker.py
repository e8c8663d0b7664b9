"""A worker: trains the chain of hashes. Its events and checkpoints are written and delivered by the product's code."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from benchmarks.chaos.chain import advance, loss, weights
from benchmarks.chaos.death import Doom
from trainer.checkpoint.files import clear_leftovers, latest, read, write
from trainer.launch.stop import stop_file
from trainer.sinks.push import Pusher
from trainer.sinks.spool import Spool
from trainer.wire import EventKind, JobFile

CHECKPOINTS, WEIGHTS = "checkpoints", "net/G/w"
STEP_SECONDS = 0.01
DELIVERY_SECONDS = 5.0
COMPLETED, STOPPED = 0, 3
"""Exit codes."""


class Worker:
    """Rank 0 of one group, from its newest checkpoint on."""

    def __init__(self, job: JobFile, doom: Doom) -> None:
        self.job, self.doom = job, doom
        self.train, self.folder = job.spec.train, Path(job.job_dir) / CHECKPOINTS
        self.total = self.train.images // self.train.batch
        self.spool = Spool(Path(job.job_dir))
        self.pusher = Pusher(self.spool, job)

    def run(self) -> int:
        """An exit code."""
        clear_leftovers(self.folder)
        newest = latest(self.folder)
        step, state = (0, weights(self.train.seed, 0)) if newest is None else _saved(newest)
        self.pusher.start()
        self.say(EventKind.STARTED, step, total_images=self.train.images, workers=1, device="cpu",
                 resumed_from=None if newest is None else step)  # fmt: skip
        wanted = self._train(step, state)
        self.pusher.close(DELIVERY_SECONDS)
        self.spool.close()
        return wanted

    def _train(self, step: int, state: bytes) -> int:
        while step < self.total:
            if self.pusher.desired == "stop" or stop_file(self.job).exists():
                self.doom.at("before a stop is saved")
                self.save(step, state)
                return STOPPED
            step += 1
            state = advance(state, self.train.seed, step)
            time.sleep(STEP_SECONDS)
            if step % self.train.log_steps == 0:
                self.say(EventKind.PROGRESS, step, metrics={"loss": loss(state)})
            if step % self.job.spec.checkpoint.every_steps == 0 or step == self.total:
                self.save(step, state)
        return COMPLETED

    def save(self, step: int, state: bytes) -> None:
        """Its checkpoint."""
        clock = {"step": step, "images": step * self.train.batch}
        meta = {
            "clock": clock,
            "extras": {"dataset": None},
            "rollbacks": 0,
            "spec": self.job.spec.model_dump(mode="json"),
        }
        with self.doom.around("a checkpoint"):
            path = write(self.folder, step, {WEIGHTS: torch.tensor(list(state), dtype=torch.uint8)}, meta)
        self.say(EventKind.CHECKPOINT, step, path=str(path.relative_to(self.job.job_dir)))

    def say(self, kind: EventKind, step: int, **data: object) -> None:
        """An event."""
        with self.doom.around("an event"):
            self.spool.append(self.job.attempt, kind, step=step, images=step * self.train.batch, data=data)


def _saved(checkpoint: Path) -> tuple[int, bytes]:
    """Step and weights of a checkpoint. Raises CheckpointError."""
    tensors, meta = read(checkpoint)
    return int(meta["clock"]["step"]), bytes(tensors[WEIGHTS].tolist())
