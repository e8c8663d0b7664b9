"""One training in a thread of this process, held at each of its evaluations until it is told to go on.

Every rank of a trial runs one. Rank 0's is asked and told by the trial; the others follow it, because each evaluation ends
with rank 0's word for all. So nobody trains beyond what a scheduler has seen, and all ranks leave together.
"""

from __future__ import annotations

import math
import queue
import threading
import traceback
from dataclasses import dataclass
from typing import Literal

from trainer.engine.events import Event, Listener, Run, RunStarted, Scored
from trainer.errors import Verdict, judge
from trainer.launch.diary import Diary
from trainer.launch.stop import StopFile, stop_file
from trainer.wire import FailureKind, JobFile

Word = Literal["go", "leave"]
GO: Word = "go"
LEAVE: Word = "leave"


class Left(Exception):  # noqa: N818 — no error: the trial was told to end here
    """Raised in the training to end it where it is held."""


@dataclass(frozen=True)
class Began:
    """The state is there: fresh, or of a checkpoint."""

    step: int
    images: int


@dataclass(frozen=True)
class Evaluated:
    """The metric is known, and the training is held."""

    step: int
    images: int
    value: float | None


@dataclass(frozen=True)
class Ended:
    """The training is over: to its full length, because someone asked, or because it was told to leave."""

    outcome: Literal["completed", "stopped", "left"]
    images: int


@dataclass(frozen=True)
class Failed:
    """The training is over by an error."""

    kind: FailureKind
    reason: str
    images: int
    echo: bool = False
    told: bool = True
    """As a `Verdict` has them."""

    @classmethod
    def of(cls, verdict: Verdict, images: int) -> Failed:
        """So failed a rank that has seen so many images."""
        return cls(verdict.kind, verdict.reason, images, verdict.echo, verdict.told)

    @property
    def verdict(self) -> Verdict:
        """What it was."""
        return Verdict(self.kind, self.reason, self.echo, self.told)


Report = Began | Evaluated | Ended | Failed


class Training:
    """A training of `job` as one of `world` ranks. Rank 0 is asked by `next` and told by `go` or `leave`."""

    def __init__(self, job: JobFile, world: int, metric: str) -> None:
        self._job, self._world, self._metric = job, world, metric
        self._reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self._words: queue.SimpleQueue[Word] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="training", daemon=True)
        self._images = 0

    def start(self) -> None:
        """Begin, from the newest checkpoint in the job's folder or from the start."""
        self._thread.start()

    def next(self, timeout: float | None = None) -> Report:
        """What happened next. Raises queue.Empty after `timeout` seconds."""
        return self._reports.get(timeout=timeout)

    def go(self) -> None:
        """Train on from where it is held."""
        self._words.put(GO)

    def leave(self, wait_seconds: float) -> bool:
        """End: where it is held, or at its next evaluation. Whether it ended within the time."""
        self._words.put(LEAVE)
        if self._thread.ident is not None:
            self._thread.join(wait_seconds)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Ask it to save a checkpoint and end within a step."""
        stop_file(self._job).write_text("the trial was asked to stop")
        self._words.put(LEAVE)  # if it is held just now

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._thread.is_alive()

    def handle(self, event: Event, run: Run) -> None:
        """As the training's last listener: report, and wait for the word at an evaluation."""
        self._images = event.images
        if isinstance(event, RunStarted):
            self._reports.put(Began(event.step, event.images))
        elif isinstance(event, Scored):
            value = event.scores.get(self._metric)
            finite = value if value is not None and math.isfinite(value) else None
            self._reports.put(Evaluated(event.step, event.images, finite))
            word = self._words.get() if run.distributed.is_main else GO
            if run.distributed.share(word) == LEAVE:
                raise Left

    def close(self) -> None:
        """Nothing to end."""

    def _run(self) -> None:
        from trainer.engine.distributed import Distributed
        from trainer.launch.compose import train

        try:
            distributed = Distributed.create(self._job.spec, world=self._world)
            own: list[Listener] = [StopFile(stop_file(self._job))] if distributed.is_main else [Diary()]
            self._reports.put(Ended(train(self._job, distributed, [*own, self]), self._images))
        except Left:
            self._reports.put(Ended("left", self._images))
        except Exception as error:
            verdict = judge(error)
            if not verdict.kind.diverged:  # of those the reason says all
                traceback.print_exc()
            self._reports.put(Failed.of(verdict, self._images))
