"""What a process prints, kept in the run's folder, of bounded size, to the last byte before a kill.

The kernel itself appends to the file, so nothing hangs on this process living on: no pipe and no reader of it can be lost.
A thread looks now and then: it begins the next part of a log that has grown, removes parts in the middle of a long one (its
beginning and its end stay), and copies what is new to where the output went before, for Ray to show it with the driver's.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from trainer.wire import log_part

PART_BYTES = 4 * 2**20
LOG_BYTES = 32 * 2**20
"""Of one log, over all its parts: its first one, and of the newest as many as fit."""
LOOK_SECONDS = 0.5
SYNC_SECONDS = 5.0
"""How much of a log a node may take with it when it dies; the death of the process alone takes nothing."""
ECHO_BYTES = 64 * 2**10
"""Of one look, that is copied to where the output went before."""
TAIL_BYTES = 64 * 2**10
"""What a new part begins with where the one before ran away: it grew by more than a part between two looks."""
FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Output:
    """Standard output and error of this process, kept as the log of which `name` gives the path of each part.

    folder: what the paths lie below. streams: the descriptors that are kept; both go into one file, in the order of writing.
    echo: whether they also go to where they went before.
    """

    def __init__(
        self, folder: Path, name: Callable[[int], str], *, echo: bool = False, streams: Sequence[int] = (1, 2)
    ) -> None:
        self._folder, self._name, self._echo, self._streams = folder, name, echo, tuple(streams)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._part, self._file, self._echoed, self._synced = 0, -1, 0, 0
        self._sync_at = time.monotonic() + SYNC_SECONDS
        self._before: list[int] = []

    @property
    def path(self) -> Path:
        """The newest part."""
        return self._folder / self._name(max(1, self._part))

    def begin(self, head: str) -> None:
        """Keep from now on, with `head` as the first line. Raises OSError, and then all stays as it was."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        newest = max(self._parts(), default=1)
        self._part, self._file = newest, os.open(self._folder / self._name(newest), FLAGS, 0o600)
        if os.fstat(self._file).st_size >= PART_BYTES:
            os.close(self._file)
            self._part, self._file = self._new()
        self._echoed = self._synced = os.fstat(self._file).st_size
        _write(self._file, f"--- {head} ---\n".encode())
        self._before = [os.dup(stream) for stream in self._streams]
        self._redirect(self._file)
        threading.Thread(target=self._keep, name="log", daemon=True).start()

    def look(self) -> None:
        """Copy what is new, and begin the next part if this one is full. What can't be done is tried at the next look."""
        with self._lock, suppress(OSError):
            if self._file < 0:
                return
            size = os.fstat(self._file).st_size
            self._copy(size)
            if size >= PART_BYTES:
                self._next(size)
            elif size > self._synced and time.monotonic() >= self._sync_at:
                self._synced, self._sync_at = size, time.monotonic() + SYNC_SECONDS
                os.fdatasync(self._file)

    def end(self) -> None:
        """Let the output go where it went before."""
        self.look()
        self._over.set()
        with self._lock:
            if self._file < 0:
                return
            _flush()
            for stream, before in zip(self._streams, self._before, strict=True):
                os.dup2(before, stream)
                os.close(before)
            os.close(self._file)
            self._file, self._before = -1, []

    def _keep(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self.look()

    def _redirect(self, file: int) -> None:
        _flush()
        for stream in self._streams:
            os.dup2(file, stream)

    # -- parts

    def _parts(self) -> list[int]:
        """Numbers of those that there are, in order."""
        log = (log_part(Path(self._name(1)).name) or ("", 1))[0]
        found = (log_part(entry.name) for entry in os.scandir(self.path.parent))
        return sorted(part for name, part in filter(None, found) if name == log)

    def _new(self) -> tuple[int, int]:
        """Number and descriptor of a part that nobody else has."""
        number = self._part
        while True:
            number += 1
            with suppress(FileExistsError):
                return number, os.open(self._folder / self._name(number), FLAGS | os.O_EXCL, 0o600)

    def _next(self, size: int) -> None:
        full, ran_away = self._file, size > 2 * PART_BYTES
        number, file = self._new()
        if ran_away:  # its end is what matters
            left = size - PART_BYTES - TAIL_BYTES
            _write(file, _note(left) + os.pread(full, TAIL_BYTES, size - TAIL_BYTES))
        self._echoed = os.fstat(file).st_size
        self._redirect(file)
        self._part, self._file, self._synced = number, file, 0
        if ran_away:
            os.ftruncate(full, PART_BYTES)
        os.close(full)
        self._prune()

    def _prune(self) -> None:
        """Remove what is too much: neither the first part nor this one."""
        room = LOG_BYTES - 2 * PART_BYTES
        for number in reversed([number for number in self._parts() if 1 < number < self._part]):
            path = self._folder / self._name(number)
            room -= path.stat().st_size
            if room < 0:
                path.unlink(missing_ok=True)

    # -- the copy

    def _copy(self, size: int) -> None:
        begin, self._echoed = self._echoed, size
        if not self._echo or size <= begin:
            return
        if size - begin > ECHO_BYTES:
            _write(self._before[0], _note(size - begin - ECHO_BYTES))
            begin = size - ECHO_BYTES
        _write(self._before[0], os.pread(self._file, size - begin, begin))


class Patient:
    """A text stream that loses what can't be written (the disk is full, the shared folder is away), and nothing else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """At once."""
        with suppress(OSError):
            self._stream.write(text)
            self._stream.flush()
        return len(text)

    def flush(self) -> None:
        """Whatever is left."""
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def be_patient() -> None:
    """Let nothing of this process fail because what it prints can't be written."""
    for name in ("stdout", "stderr"):
        if not isinstance(getattr(sys, name), Patient):
            setattr(sys, name, Patient(getattr(sys, name)))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()


def _write(file: int, data: bytes) -> None:
    """All of it. Raises OSError."""
    while data:
        data = data[os.write(file, data) :]


def _note(left_out: int) -> bytes:
    return f"\n--- {left_out:,} bytes are left out here: more came at once than a log keeps ---\n".encode()
