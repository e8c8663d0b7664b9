"""The time that leases and pauses are counted in: it goes on evenly, whoever sets the machine's clock meanwhile.

It begins at the database's time, which reconcilers on several machines share, and from then on counts this process's monotonic clock.
So no step of a clock reaches a process that runs. One that starts after a step has another time than those before it;
so no time in the database is believed that lies further ahead than anyone writes one (`service.reconciler.store`).

What people read (when a job began, when it ended) is the machine's own time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta


class SteadyClock:
    """Callable: the time in UTC, which never jumps and never goes back. Thread-safe."""

    def __init__(self, began: datetime, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._began, self._elapsed, self._zero = began, elapsed, elapsed()

    def __call__(self) -> datetime:
        """Now."""
        return self._began + timedelta(seconds=self._elapsed() - self._zero)
