"""What a worker writes into its own log of how far it is: enough to see which of them stopped where."""

from __future__ import annotations

import time

from trainer.engine.events import Event, RolledBack, Run, RunFinished, RunStarted, Tick, Warned
from trainer.launch.log import say

PAUSE_SECONDS = 60.0
"""Between two lines about steps."""


class Diary:
    """Listener on every rank but the first, whose console sink says more."""

    def __init__(self) -> None:
        self._next = 0.0

    def handle(self, event: Event, run: Run) -> None:
        """A line, if there is something to say."""
        at = f"step {event.step}, {event.images:,} images"
        if isinstance(event, RunStarted):
            self._next = 0.0
            say(f"training {'goes on' if event.resumed else 'begins'} at {at}")
        elif isinstance(event, Tick) and time.monotonic() >= self._next:
            self._next = time.monotonic() + PAUSE_SECONDS
            say(f"{at}, {event.images_per_second:,.0f} images/s")
        elif isinstance(event, Warned):
            say(f"{at}: warning: {event.message}")
        elif isinstance(event, RolledBack):
            say(f"rolled back from step {event.from_step} to {at}: {event.reason}")
        elif isinstance(event, RunFinished):
            say(f"training ended at {at}: {event.outcome}")

    def close(self) -> None:
        """Nothing to end."""
