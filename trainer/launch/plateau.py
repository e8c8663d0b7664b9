"""Ends a training whose score has not become better for too long: `limits.no_better_after`."""

from __future__ import annotations

import math

from trainer.checkpoint.keep import metric_of
from trainer.engine.events import Event, LimitReached, Run, RunStarted, Scored, Warned
from trainer.schema import Frozen
from trainer.spec import JobSpec
from trainer.spec.limits import WARNED_AT, plateau
from trainer.spec.sections import HIGHER_IS_BETTER

KEY = "plateau"
"""Where the record lies in the state's extras, and so in checkpoints: a restart asks of the same best score."""


class Standing(Frozen):
    """The best score so far."""

    metric: str = ""
    value: float | None = None
    images: int = 0
    """Images shown when it was scored."""

    def with_score(self, metric: str, value: float, images: int) -> Standing:
        """After another evaluation. One of another metric begins anew; of equal scores the earlier counts."""
        mine = self.value if self.metric == metric else None
        better = mine is None or (value > mine if metric in HIGHER_IS_BETTER else value < mine)
        if not math.isfinite(value):
            return self if self.metric == metric else Standing(metric=metric)
        return Standing(metric=metric, value=value, images=images) if better else self


class Plateau:
    """Listener on every rank, behind the Evaluator: all hear the same scores and come to the same verdict."""

    def __init__(self, spec: JobSpec) -> None:
        self._after, self._metric, self._total = spec.limits.no_better_after, metric_of(spec), spec.train.images
        self._standing = Standing()
        self._warned = False

    def handle(self, event: Event, run: Run) -> None:
        """Weigh a score, and ask for the end if there was no better one for too long. At the training's end it ends anyway."""
        if isinstance(event, RunStarted):
            self._standing = Standing.model_validate(run.state.extras.get(KEY, {}))
        elif isinstance(event, Scored) and self._after is not None and self._metric in event.scores:
            metric = str(self._metric)
            self._standing = self._standing.with_score(metric, event.scores[metric], event.images)
            run.state.extras[KEY] = self._standing.model_dump(mode="json")
            if event.images < self._total:
                self._weigh(event, run, self._after)

    def close(self) -> None:
        """Nothing to release."""

    def _weigh(self, event: Scored, run: Run, after: int) -> None:
        since = event.images - self._standing.images
        reason = plateau(str(self._metric), self._standing.value, since, after)
        if since >= after:
            run.emit(LimitReached(event.step, event.images, "no_better_after", reason))
            run.request_stop(reason)
        elif since >= WARNED_AT * after and not self._warned:
            run.emit(Warned(event.step, event.images, reason))
        self._warned = since >= WARNED_AT * after
