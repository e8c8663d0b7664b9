"""How each trial ended, to MLflow, beside the search: a trial's own sinks deliver while it trains, its end is the driver's to say."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trainer.search import TrialRecord, TrialState
from trainer.search.trial import trial_dir
from trainer.sinks.spool import Spool
from trainer.wire import JOB_FILE, EventKind, FailureKind, JobFile

SECONDS = 30.0
"""How long one trial's end waits for MLflow; after one that waited in vain the others are only spooled."""


class Deliveries:
    """A thread that says and delivers ends, one after the other."""

    def __init__(self, search_dir: Path) -> None:
        self._folder = search_dir
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="deliveries")
        self._away = False
        self._over: set[str] = set()

    def ended(self, record: TrialRecord) -> None:
        """A trial has ended; returns at once. Told again of the same one, it does nothing."""
        if record.id not in self._over:
            self._over.add(record.id)
            self._thread.submit(self._deliver, record)

    def close(self) -> None:
        """Wait for what is under way."""
        self._thread.shutdown(wait=True)

    def _deliver(self, record: TrialRecord) -> None:
        from trainer.sinks.mlflow import MlflowSink

        folder = trial_dir(self._folder, record.id)
        try:
            job = JobFile.model_validate_json((folder / JOB_FILE).read_bytes())
        except (OSError, ValueError):
            return  # it never began
        spool = Spool(folder)
        try:
            kind, data = _end(record)
            spool.append(job.attempt, kind, data=data)
            if job.mlflow_uri and not self._away:
                sink = MlflowSink(spool, job)
                sink.start()
                self._away = not sink.close(SECONDS)
        finally:
            spool.close()


def _end(record: TrialRecord) -> tuple[EventKind, dict[str, str]]:
    """As a job's driver would say it."""
    if record.state is TrialState.DIVERGED:
        return EventKind.FAILED, {"kind": FailureKind.COLLAPSED, "reason": record.reason}
    if record.state is TrialState.FAILED:
        return EventKind.FAILED, {"kind": FailureKind.INTERNAL, "reason": record.reason}
    return EventKind.FINISHED, {"outcome": "completed" if record.state is TrialState.COMPLETED else "stopped"}
