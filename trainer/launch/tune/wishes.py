"""What is wanted of a search while it runs."""

from __future__ import annotations

import threading


class Wishes:
    """What is wanted of a running search. Safe to change from another thread."""

    def __init__(self) -> None:
        self.pause = threading.Event()
        """Let every trial save and end; the search can go on later."""
        self.limit: str | None = None
        """Why the search pauses itself: one of its limits is reached."""
        self.stop_trials: set[str] = set()
        """Trials that shall end now and keep their score."""
        self.hold = False
        """Whether no further trial starts, as long as any trains: others wait for the cluster."""
