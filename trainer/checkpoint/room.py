"""Whether the disk has room for what is saved next: said before a training fails for it."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOM = 2
"""Checkpoints that must fit."""


class Room:
    """Of one folder of checkpoints."""

    def __init__(self) -> None:
        self._told = False

    def short(self, saved: Path) -> str:
        """What to warn of, the first time that it is so; else empty. saved: the newest checkpoint: the next one takes as much."""
        try:
            size = sum(file.stat().st_size for file in saved.iterdir())
            free = shutil.disk_usage(saved).free
        except OSError:
            return ""  # removed meanwhile, or the file system doesn't say
        before, self._told = self._told, free < ROOM * size
        if before or not self._told:
            return ""
        return (
            f"the disk is nearly full: {_megabytes(free)} are free, and a checkpoint takes {_megabytes(size)}; "
            "the training fails when one doesn't fit, and goes on from the one before"
        )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
