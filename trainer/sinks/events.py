"""Turns what the loop tells its listeners into numbered events in the job's spool, and starts those who carry them.

On rank 0 alone. A line goes to the page cache in the training thread (tens of microseconds, and it survives SIGKILL);
disk and network are the forwarders' threads' business.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from trainer.engine.events import (
    CheckpointWritten,
    Event,
    LimitReached,
    Observed,
    Published,
    ReportWritten,
    RolledBack,
    Run,
    RunStarted,
    SamplesDrawn,
    Scored,
    StepDone,
    Tick,
    Warned,
)
from trainer.sinks.forward import Forwarder
from trainer.sinks.mlflow import MlflowSink
from trainer.sinks.push import Pusher
from trainer.sinks.samples import sample_path
from trainer.sinks.spool import Spool
from trainer.spec import dump_spec
from trainer.wire import EventKind, JobFile

CLOSE_SECONDS = 5.0
"""How long the workers' end waits for each receiver; the driver delivers what is left."""
PACKAGES = ("agon", "torch", "accelerate", "numpy", "webdataset", "ray", "mlflow", "safetensors")


class EventSink:
    """Listener that writes the spool and listens to what is wanted of the job."""

    def __init__(self, job: JobFile) -> None:
        self._job = job
        self._folder = Path(job.job_dir)
        self._spool = Spool(self._folder)
        self._pusher = Pusher(self._spool, job) if job.api_url else None
        self._forwarders: list[Forwarder] = [self._pusher] if self._pusher else []
        if job.mlflow_uri:
            self._forwarders.append(MlflowSink(self._spool, job))
        self._started = self._stopping = False

    def handle(self, event: Event, run: Run) -> None:
        """Spool the event; pass on a wish to stop and the forwarders' complaints."""
        if isinstance(event, RunStarted):
            describe(self._job, run)
        if wire := to_wire(event, run, self._folder):
            kind, data = wire
            self._spool.append(self._job.attempt, kind, step=event.step, images=event.images, data=data)
        if isinstance(event, RunStarted):
            self._start()
        elif isinstance(event, StepDone):
            self._listen(event, run)

    def close(self) -> None:
        """Deliver what is left, for a bounded time."""
        for forwarder in self._forwarders:
            forwarder.close(CLOSE_SECONDS)
        self._spool.close()

    def _start(self) -> None:
        """Deliver from now on; a run that begins again after a roll back has to hear of a wish to stop, too."""
        if not self._started:
            for forwarder in self._forwarders:
                forwarder.start()
        self._started, self._stopping = True, False

    def _listen(self, event: Event, run: Run) -> None:
        if self._pusher and self._pusher.desired == "stop" and not self._stopping:
            self._stopping = True
            run.request_stop("asked to by the control plane")
        for forwarder in self._forwarders:
            while not forwarder.complaints.empty():
                run.emit(Warned(event.step, event.images, forwarder.complaints.get_nowait()))


def to_wire(event: Event, run: Run, folder: Path) -> tuple[EventKind, dict[str, Any]] | None:
    """An event's kind and data on the wire; None for events that stay in the process.

    The run's end is not among them: only whoever launched it knows that every worker ended well (`trainer.sinks.report`).
    """
    match event:
        case RunStarted():
            return EventKind.STARTED, {
                "total_images": event.total_images,
                "resumed_from": event.step if event.resumed else None,
                "workers": run.distributed.world,
                "device": str(run.distributed.device),
            }
        case Tick():
            return EventKind.PROGRESS, {
                "metrics": finite(event.metrics),
                "images_per_second": event.images_per_second,
                "eta_seconds": event.eta_seconds,
                "shares": finite(event.shares),
                "total_images": event.total_images,
            }
        case SamplesDrawn():
            return EventKind.SAMPLES, {"path": sample_path(event.step)}
        case CheckpointWritten():
            return EventKind.CHECKPOINT, {"path": relative(event.path, folder)}
        case Scored():
            return EventKind.SCORES, {"scores": finite(event.scores), "provenance": dict(event.provenance)}
        case Published():
            return EventKind.PUBLISHED, {
                "model": event.model,
                "version": event.version,
                "champion": event.champion,
                "verdict": event.verdict,
                "scores": finite(event.scores),
            }
        case ReportWritten():
            return EventKind.REPORT, {"path": relative(event.path, folder), "seconds": round(event.seconds, 1)}
        case Observed():
            return EventKind.OBSERVED, {"metrics": finite(event.metrics)}
        case RolledBack():
            return EventKind.ROLLED_BACK, {
                "reason": event.reason,
                "from_step": event.from_step,
                "to_step": event.step,
                "lr_factor": event.lr_factor,
                "count": event.count,
            }
        case LimitReached():
            return EventKind.LIMIT, {"limit": event.limit, "reason": event.reason}
        case Warned():
            return EventKind.WARNING, {"message": event.message}
    return None


def finite(numbers: Mapping[str, float]) -> dict[str, float]:
    """The numbers that JSON can carry: no NaN, no infinity."""
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def relative(path: Path, folder: Path) -> str:
    """The path as seen from the job's folder, or as it is if it lies elsewhere."""
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def describe(job: JobFile, run: Run) -> None:
    """Write what is trained, on what, with which versions, into the job's folder: for MLflow and for a person."""
    folder = Path(job.job_dir)
    (folder / "spec.yaml").write_text(dump_spec(job.spec))
    (folder / "environment.json").write_text(json.dumps(environment(run), indent=2) + "\n")
    (folder / "dataset.json").write_text(run.dataset.manifest.model_dump_json(indent=2) + "\n")


def environment(run: Run) -> dict[str, Any]:
    """Versions and the shape of the run."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "workers": run.distributed.world,
        "threads": torch.get_num_threads(),
        "device": str(run.distributed.device),
        "spec_digest": run.spec.digest(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
