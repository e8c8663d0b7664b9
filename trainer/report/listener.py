"""Keeps `report.html` in the job's folder: after evaluations, as far as time allows, and at the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.data.stream import Dataset
from trainer.engine.events import Event, ReportWritten, Run, RunFinished, RunStarted, Scored, Warned
from trainer.wire import GRIDS, JobFile

if TYPE_CHECKING:
    from trainer.report.subject import Subject

LOG = logging.getLogger(__name__)
SHARE = 0.05
"""Of the time since the last report, at most so much goes into the next one before the end."""


class Reporting:
    """Listener: rank 0 writes the report and emits `ReportWritten`; whatever goes wrong with it is a warning.

    It draws from the nets as they are, in memory and on their device, with random numbers of its own, so the training
    goes on as if nothing had been looked at.
    """

    def __init__(self, job: JobFile, dataset: Dataset) -> None:
        self._job = job
        self._dataset = dataset
        self._scored: Scored | None = None
        self._since = time.monotonic()
        self._took = 0.0

    def handle(self, event: Event, run: Run) -> None:
        """Write a report if one is due. Never raises."""
        if not run.distributed.is_main:
            return
        if isinstance(event, RunStarted):
            self._since = time.monotonic()
        if isinstance(event, Scored):
            self._scored = event
        if not self._due(event):
            return
        begun = time.monotonic()
        try:
            from trainer.report.build import write_report  # seconds of imports, which no job waits for at its start

            path = write_report(self._subject(event, run), Path(self._job.job_dir))
        except Exception as error:  # a picture is never worth a training
            LOG.warning("the report failed", exc_info=True)
            message = f"no report was written ({type(error).__name__}: {error}); `agon report` may make one later"
            run.emit(Warned(event.step, event.images, message))
        else:
            self._took = time.monotonic() - begun
            run.emit(ReportWritten(event.step, event.images, path, self._took))
        self._since = time.monotonic()

    def close(self) -> None:
        """Nothing to release."""

    def _due(self, event: Event) -> bool:
        """At the end; and after an evaluation before it, if the last report's time is small beside the training's."""
        if isinstance(event, RunFinished):
            return True
        before_the_end = isinstance(event, Scored) and event.images < self._job.spec.train.images
        return before_the_end and self._took <= SHARE * (time.monotonic() - self._since)

    def _subject(self, event: Event, run: Run) -> Subject:
        from trainer.publish.card import code_version
        from trainer.report.history import from_events
        from trainer.report.live import NetModel
        from trainer.report.load import eye_of
        from trainer.report.subject import QUICK, Subject

        spec, state = run.spec, run.state
        scores: Mapping[str, float] = {}
        provenance: Mapping[str, Any] = {}
        if self._scored is not None and self._scored.step == event.step:
            scores, provenance = self._scored.scores, self._scored.provenance
        encoder = state.net("E") if "E" in state.players else None
        device = next(state.generator.parameters()).device
        eye, missing = None, "this training was not scored"
        if self._scored is not None:
            missing = "no score of this training compares features"
        # An extractor that no score used might have to be trained first.
        if self._scored is not None and self._scored.provenance.get("extractor"):
            eye = eye_of(spec, self._dataset, Path(self._job.cache_dir), device, self._job.access)
        return Subject(
            spec,
            spec.name,
            model=NetModel(state.family, spec.arch, state.generator, encoder, spec),
            class_names=self._dataset.manifest.classes,
            history=from_events(Path(self._job.job_dir)),
            scores=scores,
            provenance=provenance,
            facts={
                "job": self._job.job_id,
                "trained": f"{event.step:,} steps, {event.images:,} of {spec.train.images:,} images shown",
                "dataset digest": self._dataset.manifest.digest,
                "spec digest": spec.digest(),
                "Agon": code_version(),
            },
            dataset=self._dataset,
            features=eye,
            missing=f"{missing}, so there is no feature extractor yet; `agon report` makes one",
            effort=QUICK,
            grids=Path(self._job.job_dir) / GRIDS,
            ended=isinstance(event, RunFinished),
        )
