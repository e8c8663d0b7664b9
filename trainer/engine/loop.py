"""The loop: steps, ticks, and telling the listeners. What the listeners do is none of its business."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, cast

from trainer.engine.distributed import Distributed
from trainer.engine.events import Event, Listener, Outcome, RunFinished, RunStarted, StepDone, Tick, Warned
from trainer.engine.metrics import REPLACED, Means, Stopwatch
from trainer.engine.prepare import prepare
from trainer.engine.state import TrainState
from trainer.engine.step import Stepper
from trainer.errors import NonFiniteError
from trainer.spec import JobSpec

if TYPE_CHECKING:
    from trainer.data.stream import Dataset, RealBatch

LOG = logging.getLogger(__name__)
AGREE_SECONDS = 2.0
"""How long several ranks train at most, about, before they ask one another whether to stop: a notice that a node is taken
away may come half a minute before, which is a tick's time where steps are large."""


class Loop:
    """Trains `state` until `train.images` are shown or a stop is agreed. Is the `Run` that listeners see."""

    def __init__(
        self,
        spec: JobSpec,
        state: TrainState,
        distributed: Distributed,
        dataset: Dataset,
        listeners: Sequence[Listener],
    ) -> None:
        self.spec, self.state, self.distributed = spec, state, distributed
        self.stop_reason: str | None = None
        self.dataset, self._listeners = dataset, tuple(listeners)
        self._means, self._watch = Means(), Stopwatch()
        self._queue: deque[Event] = deque()
        self._emitting = False
        self._ticked = (state.clock.step, state.clock.images)
        self._skipped: set[str] = set()
        self._replaced = self._warned_of = 0
        self._agree_steps = spec.train.log_steps

    def run(self) -> Outcome:
        """Train. Returns how it ended; every listener has then handled `RunFinished`.

        The `StepDone` of the step that a restarted run goes on from is told again: what was due at that step
        (evaluation, publishing) may not have been done before the end. Listeners do nothing twice.
        Raises NonFiniteError, naming the metric and the steps, and whatever a listener or the data raises.
        """
        resumed = self.state.clock.step > 0
        if not resumed:
            prepare(self.state, self.dataset, self.distributed)
        self.emit(RunStarted(*self._now(), total_images=self.spec.train.images, resumed=resumed))
        outcome: Outcome = "completed"
        if resumed:
            self.emit(StepDone(*self._now(), last=self._complete()))
        if not self._complete():
            outcome = self._train()
        self.emit(RunFinished(*self._now(), outcome=outcome))
        return outcome

    def emit(self, event: Event) -> None:
        """Tell all listeners in order; an event emitted by a listener waits until all have handled the current one."""
        self._queue.append(event)
        if self._emitting:
            return
        self._emitting = True
        try:
            while self._queue:
                current = self._queue.popleft()
                for listener in self._listeners:
                    listener.handle(current, self)
        finally:
            self._emitting = False
            self._queue.clear()

    def request_stop(self, reason: str) -> None:
        """Ask for an orderly end: after this step with one worker, else within `AGREE_SECONDS`, together on all ranks."""
        self.stop_reason = self.stop_reason or reason

    def _train(self) -> Outcome:
        clock, log_steps = self.state.clock, self.spec.train.log_steps
        place = self.distributed
        batches = self.dataset.stream(self.spec.train.batch, self.state.seed, place.rank, place.world, clock.batches)
        with closing(cast("Generator[RealBatch]", batches)):  # closing it ends its decoding threads
            stepper = Stepper(self.state, place, batches, self._means, self._watch)
            self._watch.read()
            while True:
                stepper.step()
                done = self._complete()
                tick, stop = None, False
                if done or clock.step % log_steps == 0 or self._stop_agreed():
                    tick, stop = self._tick()
                with self._watch.part("listeners"):
                    if tick is not None:
                        self.emit(tick)
                        self._report_skips(int(tick.metrics.get(REPLACED, 0)))
                    self.emit(StepDone(*self._now(), last=done or stop))
                if done or stop:
                    return "completed" if done else "stopped"

    def _stop_agreed(self) -> bool:
        """Between two ticks, whether to stop here. All ranks ask at the same steps."""
        wanted = self.stop_reason is not None
        if self.distributed.world == 1:
            return wanted
        return self.state.clock.step % self._agree_steps == 0 and self.distributed.any(wanted)

    def _tick(self) -> tuple[Tick, bool]:
        """Metrics and agreement on a stop: one all-reduce, one transfer to the host. Raises NonFiniteError."""
        step, images = self._now()
        since_step, since_images = self._ticked
        with self._watch.part("compute"):
            metrics, stop, pace = self._means.reduce(
                self.distributed, self.stop_reason is not None, (step - since_step) / self._watch.seconds
            )
        self._agree_steps = max(1, min(self.spec.train.log_steps, int(pace * AGREE_SECONDS)))
        self._ticked = (step, images)
        if wrong := [name for name, value in metrics.items() if not math.isfinite(value)]:
            raise NonFiniteError(
                f"{', '.join(wrong)} became {metrics[wrong[0]]} between steps {since_step} and {step}; "
                "lower the learning rates, or check the data"
            )
        seconds, shares = self._watch.read()
        speed = (images - since_images) / seconds
        total = self.spec.train.images
        left = max(0, total - images) / speed if speed > 0 else 0.0
        return Tick(step, images, metrics, speed, left, total, shares), stop

    def _report_skips(self, replaced: int) -> None:
        """Warn of what this rank has newly had to skip, and of the samples that were replaced on all ranks: of the
        first, and whenever they have doubled since the last warning, because every epoch meets the bad data again."""
        skipped = self.dataset.skipped
        for name in skipped.keys() - self._skipped:
            LOG.warning("rank %d skips %s: %s", self.distributed.rank, name, skipped[name])
            self.emit(Warned(*self._now(), f"{name} is skipped: {skipped[name]}"))
        self._skipped = set(skipped)
        self._replaced += replaced
        if self._replaced >= max(1, 2 * self._warned_of):
            self._warned_of = self._replaced
            ranks = f"{self.distributed.world} worker{'' if self.distributed.world == 1 else 's'}"
            message = f"data.on_bad_shard is skip: {ranks} replaced {self._replaced} unreadable samples since the start"
            self.emit(Warned(*self._now(), message))

    def _complete(self) -> bool:
        return self.state.clock.images >= self.spec.train.images

    def _now(self) -> tuple[int, int]:
        return self.state.clock.step, self.state.clock.images
