"""How full the disk is that runs lie on, and what takes how much of it.

How much is free is asked of the file system each time. What takes it is counted in a thread of its own, at most every ten minutes
and only if someone asks; whoever asks meanwhile has the count before. A file with several names (a pin's, a fork's) counts once.
"""

from __future__ import annotations

import os
import shutil
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from service.runs.checkpoints import CHECKPOINTS, PINNED
from service.settings import Settings
from trainer.wire import GRIDS

STALE_SECONDS = 600.0
FIRST_SECONDS = 2.0
"""So long the first who asks waits for the first count: of a small disk it is there by then."""
BREATH, ENTRIES = 0.005, 500
"""Seconds of pause after so many entries: requests go before."""
KINDS = {
    CHECKPOINTS: "checkpoints",
    PINNED: "checkpoints",
    "origin": "checkpoints",
    GRIDS: "samples",
    "model": "models",
}
"""A folder's name in that of a job or trial → what is in it."""
LOGS = (".log", ".jsonl")


@dataclass(frozen=True)
class Fill:
    """Of the disk, in bytes."""

    total: int
    free: int

    def is_low(self, share: float) -> bool:
        """Whether less than that share of it is free."""
        return self.free < share * self.total


@dataclass(frozen=True)
class Count:
    """What takes how many bytes."""

    sizes: dict[str, int]
    at: datetime


class Gauge:
    """One per application. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._count: Count | None = None
        self._began: float | None = None
        self._first = threading.Event()

    def fill(self) -> Fill:
        """How full it is now. Raises OSError."""
        root = self._settings.jobs_root
        while not root.exists() and root != root.parent:  # no job has run yet
            root = root.parent
        found = shutil.disk_usage(root)
        return Fill(found.total, found.free)

    def count(self) -> Count | None:
        """What takes how much, as it was counted last; None: the first count isn't over. Begins one that is due."""
        with self._lock:
            due = self._began is None or time.monotonic() - self._began > STALE_SECONDS
            if due:
                self._began = time.monotonic()
                threading.Thread(target=self._run, name="disk gauge", daemon=True).start()
        self._first.wait(FIRST_SECONDS)
        return self._count

    def _run(self) -> None:
        try:
            found = measure(self._settings)
            self._count = Count(found, datetime.now(UTC))
        finally:
            self._first.set()


def measure(settings: Settings) -> dict[str, int]:
    """Bytes by what takes them."""
    sizes, seen = (
        Counter[str](dict.fromkeys(("checkpoints", "samples", "models", "logs", "other", "cache"), 0)),
        set[tuple[int, int]](),
    )
    number = 0
    for what, about in chain(_files(settings.jobs_root, None), _files(settings.cache_dir, "cache")):
        number += 1
        if number % ENTRIES == 0:
            time.sleep(BREATH)
        if about.st_nlink > 1:
            if (about.st_dev, about.st_ino) in seen:
                continue
            seen.add((about.st_dev, about.st_ino))
        sizes[what] += about.st_size
    return dict(sizes)


def _files(folder: Path, what: str | None) -> Iterator[tuple[str, os.stat_result]]:
    """Regular files below, each with what it is; None: by its name. No link is followed, and what vanishes is passed over."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            try:
                about = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(about.st_mode):
                yield from _files(Path(entry.path), what or KINDS.get(entry.name))
            elif stat.S_ISREG(about.st_mode):
                yield what or ("logs" if entry.name.endswith(LOGS) else "other"), about
