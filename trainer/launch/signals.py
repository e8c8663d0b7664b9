"""SIGINT and SIGTERM as an orderly stop: the step ends, a checkpoint is written, then the run ends."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from trainer.engine.events import Event, Run, RunStarted

STOPPING = (signal.SIGINT, signal.SIGTERM)


class StopOnSignal:
    """Listener that turns the first SIGINT or SIGTERM into `request_stop`, and lets a second one kill the process.

    Only in the main thread (Python's rule for handlers). Before the run starts and after it ends signals act as usual.
    """

    def __init__(self) -> None:
        self._run: Run | None = None
        self._asked: str | None = None
        self._before: dict[int, Any] = {}

    def handle(self, event: Event, run: Run) -> None:
        """Take over the signals when the run starts; after a roll back the new run is asked what the old one was."""
        if not isinstance(event, RunStarted):
            return
        self._run = run
        if self._asked is not None:
            run.request_stop(self._asked)
        elif not self._before:
            self._before = {number: signal.signal(number, self._stop) for number in STOPPING}

    def close(self) -> None:
        """Give the signals back."""
        self._restore()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._restore()
        self._asked = signal.Signals(number).name
        if self._run is not None:
            self._run.request_stop(self._asked)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
