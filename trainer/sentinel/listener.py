"""The sentinel: looks at the training every so often and acts as the spec says (docs/sentinel.md)."""

from __future__ import annotations

import json
import math

from trainer.engine.events import Event, Observed, Run, RunStarted, Scored, StepDone, Warned
from trainer.errors import CollapsedError
from trainer.sentinel import rules
from trainer.sentinel.history import History, Symptom
from trainer.sentinel.measures import Observer
from trainer.spec import JobSpec
from trainer.spec.sections import HIGHER_IS_BETTER
from trainer.spec.sentinel import Sentinel as Settings

KEY = "sentinel"
"""Where the history lies in the state's extras, and so in checkpoints."""
JUDGED_SCORES = ("fid", "reconstruction", "precision", "recall")
"""The first of these that is evaluated is watched. Kernel distances are unbiased, so they may be 0 and have no ratio."""


class Sentinel:
    """Listener on every rank, behind the Checkpointer: a checkpoint of a step holds the history before its look.

    Rank 0 measures, all ranks hear the same numbers and come to the same verdict at the same step. Everything it
    knows is in the state's extras and everything it measures is a function of the state, so a restart changes nothing.
    """

    def __init__(self, spec: JobSpec, settings: Settings) -> None:
        self._settings = settings
        self._total = spec.train.images
        self._metric = next((name for name in JUDGED_SCORES if name in spec.evaluation.metrics), None)
        self._history = History()
        self._observer: Observer | None = None
        self.step = 0
        """The newest step that it heard of."""
        self.collapse: str | None = None
        """Why it asked for the end of the run (policy `stop`)."""

    @property
    def healthy(self) -> int:
        """The newest step at which nothing was suspicious."""
        return self._history.healthy

    def handle(self, event: Event, run: Run) -> None:
        """Look if this step is due; weigh a score. Raises CollapsedError with policy `rollback`, and with `stop` at the end."""
        self.step = event.step
        if isinstance(event, RunStarted):
            self._history = History.model_validate(run.state.extras.get(KEY, {}))
        elif isinstance(event, StepDone) and self._due(event):
            self._look(event, run)
        elif isinstance(event, Scored) and self._metric in event.scores:
            self._weigh(event, run)

    def close(self) -> None:
        """Nothing to release."""

    def _due(self, event: StepDone) -> bool:
        return (
            self.collapse is None and event.step % self._settings.every_steps == 0 and event.step > self._history.step
        )

    def _look(self, event: StepDone, run: Run) -> None:
        values = self._measure(run)
        wrong = [name for name, value in values.items() if not math.isfinite(value)]
        self._history, symptoms = rules.observe(self._history, event.step, values, self._settings)
        if wrong and self._settings.policy == "rollback":  # else the engine says so at its next tick
            symptoms = [Symptom("non-finite", f"{', '.join(wrong)} became NaN or infinite by step {event.step}")]
        finite = {name: value for name, value in values.items() if name not in wrong}
        run.emit(Observed(event.step, event.images, finite))
        self._conclude(symptoms, event, run)

    def _weigh(self, event: Scored, run: Run) -> None:
        metric = str(self._metric)
        higher = metric in HIGHER_IS_BETTER
        self._history, symptoms = rules.score(
            self._history, event.step, metric, event.scores[metric], higher=higher, settings=self._settings
        )
        self._conclude(symptoms, event, run)

    def _measure(self, run: Run) -> dict[str, float]:
        """Rank 0's measures, on every rank."""
        found: dict[str, float] = {}
        if run.distributed.is_main:
            if self._observer is None:
                self._observer = Observer(run.state, run.dataset, run.distributed.device)
            found = self._observer.measure(run.state)
        shared: dict[str, float] = json.loads(run.distributed.share(json.dumps(found)))
        return shared

    def _conclude(self, symptoms: list[Symptom], event: Event, run: Run) -> None:
        """Act, and save what is remembered."""
        news = [symptom for symptom in symptoms if symptom.rule not in self._history.told]
        if news and self._settings.policy == "warn":
            self._history = self._history.replace(told=(*self._history.told, *(symptom.rule for symptom in news)))
            for symptom in news:
                run.emit(Warned(event.step, event.images, f"the training may have collapsed: {symptom.message}"))
        run.state.extras[KEY] = self._history.model_dump(mode="json")
        if symptoms and self._settings.policy != "warn":
            self._give_up("; ".join(symptom.message for symptom in symptoms), event, run)

    def _give_up(self, reason: str, event: Event, run: Run) -> None:
        if self._settings.policy == "rollback" or event.images >= self._total:
            raise CollapsedError(reason)
        self.collapse = reason
        run.emit(Warned(event.step, event.images, f"the training has collapsed and stops: {reason}"))
        run.request_stop("the sentinel saw a collapse")
