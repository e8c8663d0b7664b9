"""How the driver tells its workers to stop: a file in the job's folder, which all nodes share.

It needs no connection between them and survives a restart of the workers. The control plane's own wish to stop
arrives by the events' answers (`trainer.sinks.push`); this is for whoever stops the driver itself.
"""

from __future__ import annotations

import threading
from pathlib import Path

from trainer.engine.events import Event, Run, RunStarted, StepDone
from trainer.wire import JobFile

LOOK_SECONDS = 0.5


GROWS = "a larger group fits"
"""Why a group stops that is to start again with more workers."""


def grow_file(job: JobFile) -> Path:
    """The file by which the elastic policy asks this attempt's workers to save their work and end, so that more can start."""
    return Path(job.job_dir) / f"grow-{job.attempt}"


def stop_file(job: JobFile) -> Path:
    """The file whose existence asks this attempt to stop; its text says why."""
    return Path(job.job_dir) / f"stop-{job.attempt}"


class StopFile:
    """Listener that asks the run to stop once a file is there, for the reason that it holds. A thread looks, so that no step
    waits for a disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reason: str | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._look, name="stop-file", daemon=True)

    def handle(self, event: Event, run: Run) -> None:
        """Pass a wish to stop on."""
        if isinstance(event, RunStarted) and self._thread.ident is None:
            self._thread.start()
        elif isinstance(event, StepDone) and self._reason is not None:
            run.request_stop(self._reason)

    def close(self) -> None:
        """End the thread."""
        self._closing.set()

    def _look(self) -> None:
        while not self._closing.wait(LOOK_SECONDS):
            if self._path.exists():
                self._reason = self._path.read_text() or "asked to"
                return
