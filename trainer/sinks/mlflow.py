"""Keeps the job's MLflow run: parameters, metrics, sample grids, scores, and how it ended.

Fed from the spool, so an outage of the server loses nothing and holds nobody. Every metric carries the time that the
spool gave it: MLflow's store drops a row that it has already, so a batch whose answer got lost can be sent again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer import tracking
from trainer.sinks.forward import Forwarder, RefusedError, UnavailableError
from trainer.sinks.spool import Spool
from trainer.wire import EventKind, JobFile, WireEvent

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.exceptions import MlflowException

ACKED_FILE = "mlflow.acked"
RUN_ID_FILE = "mlflow.run"
METRICS_A_CALL = 1000
PARAMS_A_CALL = 100
EDITED_TAG = "agon.edited."
RUN_FILES = ("spec.yaml", "environment.json", "dataset.json")
"""Files of the job's folder that say what was trained, on what, with which versions."""


class MlflowSink(Forwarder):
    """Delivers events to the job's run at `job.mlflow_uri`."""

    receiver = "MLflow"
    pace_seconds = 2.0

    def __init__(self, spool: Spool, job: JobFile) -> None:
        super().__init__(spool, spool.path.with_name(ACKED_FILE))
        self.job = job
        self._run_id: str | None = None
        self._client: MlflowClient | None = None

    def deliver(self, events: Sequence[WireEvent]) -> int:
        """Log one batch. Metrics go in one call; then the events that do more, in order."""
        import requests
        from mlflow.exceptions import MlflowException

        try:
            self._deliver(events)
        except (requests.RequestException, tracking.ExperimentDeletedError) as error:
            raise UnavailableError(str(error)) from error
        except MlflowException as error:
            if 400 <= error.get_http_status_code() < 500 and error.get_http_status_code() not in (408, 429):
                self._refused(error)
            raise UnavailableError(str(error.message)) from error
        return events[-1].seq

    def _refused(self, error: MlflowException) -> None:
        """Raise RefusedError; or UnavailableError where the experiment was deleted, as that can be undone."""
        import requests
        from mlflow.exceptions import MlflowException

        try:
            tracking.check_experiment(self.job)
        except (requests.RequestException, MlflowException, tracking.ExperimentDeletedError) as reason:
            raise UnavailableError(str(reason)) from error
        raise RefusedError(f"MLflow refused this job's run: {error.message}") from error

    def _deliver(self, events: Sequence[WireEvent]) -> None:
        client, run = self._open()
        metrics = [metric for event in events for metric in metrics_of(event)]
        for start in range(0, len(metrics), METRICS_A_CALL):
            client.log_batch(run, metrics=metrics[start : start + METRICS_A_CALL])
        for event in events:
            self._effects(client, run, event)

    def _open(self) -> tuple[MlflowClient, str]:
        """The client and the MLflow run's id; the first time ever the id is told to the control plane too."""
        if self._client is None or self._run_id is None:
            self._client = tracking.client(self.job.mlflow_uri or "")
            self._run_id = tracking.run_id(self.job)
            known = self.spool.path.with_name(RUN_ID_FILE)
            if not known.exists():
                self.spool.append(self.job.attempt, EventKind.TRACKED, data={"mlflow_run_id": self._run_id})
                known.write_text(self._run_id)
        return self._client, self._run_id

    def _effects(self, client: MlflowClient, run: str, event: WireEvent) -> None:
        folder = self.spool.path.parent
        if event.kind is EventKind.STARTED:
            client.update_run(run, status="RUNNING")
            tracking.note(client, run, self.job)
            self._log_params(client, run)
            for name in RUN_FILES:
                _log_file(client, run, folder / name, None)
        elif event.kind is EventKind.SAMPLES:
            _log_file(client, run, folder / str(event.data["path"]), "samples")
        elif event.kind is EventKind.SCORES:
            client.log_dict(run, dict(event.data), f"scores/step-{event.step:09d}.json")
        elif event.kind is EventKind.PUBLISHED:
            client.log_dict(run, dict(event.data), "published.json")
        elif event.kind is EventKind.REPORT:
            _log_file(client, run, folder / str(event.data["path"]), None)
        elif event.kind is EventKind.ROLLED_BACK:
            client.set_tag(run, "agon.rollbacks", str(event.data.get("count")))
            client.set_tag(run, f"agon.rollback.{event.data.get('count')}", rollback_text(event)[:5000])
        elif event.kind is EventKind.FINISHED:
            client.set_terminated(run, "KILLED" if event.data.get("outcome") == "stopped" else "FINISHED")
        elif event.kind is EventKind.FAILED:
            client.set_tag(run, "agon.failure", f"{event.data.get('kind')}: {event.data.get('reason')}"[:5000])
            client.set_terminated(run, "FAILED")

    def _log_params(self, client: MlflowClient, run: str) -> None:
        from mlflow.entities import Param

        spec = self.job.spec.model_dump(mode="json", exclude={"labels", "notes"})
        flat = {name: value[:500] for name, value in flatten(spec)}
        data = client.get_run(run).data
        known: dict[str, str] = data.params
        new = [Param(name, value) for name, value in flat.items() if name not in known]
        for start in range(0, len(new), PARAMS_A_CALL):
            client.log_batch(run, params=new[start : start + PARAMS_A_CALL])
        for name, value in flat.items():
            if (
                data.tags.get(EDITED_TAG + name, known.get(name, value)) != value
            ):  # edited, and MLflow changes no parameter
                client.set_tag(run, EDITED_TAG + name, value)


def metrics_of(event: WireEvent) -> Iterator[Metric]:
    """The event's numbers as MLflow metrics: a tick's means, speed and shares; an evaluation's scores."""
    from mlflow.entities import Metric

    numbers: dict[str, Any] = {}
    if event.kind is EventKind.PROGRESS:
        numbers.update(event.data.get("metrics", {}))
        numbers["images_per_second"] = event.data.get("images_per_second")
        numbers.update({f"share/{name}": value for name, value in event.data.get("shares", {}).items()})
    elif event.kind is EventKind.SCORES:
        numbers.update(event.data.get("scores", {}))
    elif event.kind is EventKind.OBSERVED:
        numbers.update(event.data.get("metrics", {}))
    time = int(event.time.timestamp() * 1000)
    for name, value in numbers.items():
        if isinstance(value, (int, float)) and math.isfinite(value):
            yield Metric(name, float(value), time, event.step)


def rollback_text(event: WireEvent) -> str:
    """A roll back in one line."""
    data = event.data
    steps = f"from step {data.get('from_step')} to {data.get('to_step')}"
    return f"{steps}, learning rates × {data.get('lr_factor')}: {data.get('reason')}"


def flatten(raw: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Leaves of a nested mapping as dotted names and their values as text."""
    for name, value in raw.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)


def _log_file(client: MlflowClient, run: str, path: Path, folder: str | None) -> None:
    if path.exists():
        client.log_artifact(run, str(path), folder)
