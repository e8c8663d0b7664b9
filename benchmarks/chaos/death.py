"""Points of death: a process that comes to its point for the nth time kills itself by SIGKILL, and has noted that.

Every kill, this kind and the others, is a line of `kills.jsonl` in the world's folder. Once `calm` is there nobody dies any more.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

KILLS, STARTS, CALM = "kills.jsonl", "starts.jsonl", "calm"
AT_RANDOM = "at random"
PR_SET_PDEATHSIG = 1


class Doom:
    """One process's fate. `told`: `POINT:N`, or empty: it has none."""

    def __init__(self, world: Path, part: str, told: str = "") -> None:
        point, _, hits = told.rpartition(":")
        self._world, self._part, self._point, self._left = world, part, point, int(hits or 0)
        self._lock = threading.Lock()

    def at(self, point: str) -> None:
        """The process is at this point."""
        if point != self._point:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0 and not is_calm(self._world):
                die(self._world, self._part, point)

    @contextmanager
    def around(self, call: str) -> Iterator[None]:
        """The points before and after a call; after it also if it raised."""
        self.at(f"before {call}")
        try:
            yield
        finally:
            self.at(f"after {call}")


def is_calm(world: Path) -> bool:
    """Whether nobody is to die any more."""
    return (world / CALM).exists()


def die(world: Path, part: str, point: str) -> NoReturn:
    """This process, now."""
    note(world, part, point)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("killed")


def note(world: Path, part: str, point: str = AT_RANDOM) -> None:
    """Write a kill down."""
    append(world / KILLS, {"part": part, "point": point, "at": time.monotonic()})


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies (Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def append(path: Path, line: dict[str, Any]) -> None:
    """One line of JSON, whole, whoever else appends."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


def lines(path: Path) -> list[dict[str, Any]]:
    """All that were appended."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
