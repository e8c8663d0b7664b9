"""Publishes the generator of a completed run."""

from __future__ import annotations

from pathlib import Path

from trainer.data.stream import Dataset
from trainer.engine.events import Event, Published, Run, Scored, Warned
from trainer.publish.card import Lineage, code_version
from trainer.publish.package import build_package
from trainer.publish.registry import command, register
from trainer.wire import JobFile

FOLDER = "model"


class Publisher:
    """Listener: when a completed run has been scored, rank 0 packages the generator into the job's folder, registers it
    if the spec has a `publish` section, and emits `Published`; without an MLflow it warns that the package stays there.
    A stopped run is not published.

    Acts on `Scored`, not on `RunFinished`, so that a version is known before anyone is told that the job ended.
    """

    def __init__(self, job: JobFile, dataset: Dataset) -> None:
        self._job = job
        self._dataset = dataset

    def handle(self, event: Event, run: Run) -> None:
        """Publish after the score of a complete training. Raises PublishError if the registry stays away."""
        complete = isinstance(event, Scored) and event.images >= self._job.spec.train.images
        if not complete or not run.distributed.is_main:
            return
        assert isinstance(event, Scored)  # noqa: S101 — for the type checker
        package = self._package(event, run)
        settings = self._job.spec.publish
        if settings is None:
            return
        if self._job.mlflow_uri is None:
            message = (
                f"this job has no MLflow, so {settings.model} is not registered: its package stays in {package}. "
                f"To register it: MLFLOW_TRACKING_URI=http://… {command(package)}"
            )
            run.emit(Warned(event.step, event.images, message))
            return
        done = register(self._job, package)
        run.emit(
            Published(event.step, event.images, settings.model, done.version, done.champion, done.verdict, event.scores)
        )

    def close(self) -> None:
        """Nothing to release."""

    def _package(self, event: Scored, run: Run) -> Path:
        lineage = Lineage(
            job_id=self._job.job_id,
            step=event.step,
            images=event.images,
            dataset_digest=self._dataset.manifest.digest,
            spec_digest=self._job.spec.digest(),
            code=code_version(),
            trial=self._job.trial,
            fork=self._job.fork.told() if self._job.fork else None,
        )
        return build_package(
            run.state,
            Path(self._job.job_dir) / FOLDER,
            dataset=self._dataset,
            scores=event.scores,
            provenance=event.provenance,
            lineage=lineage,
        )
