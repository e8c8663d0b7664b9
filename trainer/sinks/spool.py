"""The job's durable, numbered log of events: `events.jsonl`, one WireEvent a line, appended and never rewritten.

Everything a job reports goes here first; receivers (the control plane, MLflow) are fed from here by `forward`, each
with its own cursor. So an outage costs disk and no memory, and a restart goes on where the last process stopped.

Writers are rank 0 of the workers and the driver. Every append holds a lock on the file and reads what others appended
since, so numbers stay unique whoever writes. A writer that dies in the middle of a line leaves a torn tail; the next
append cuts it off.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trainer.wire import EventKind, WireEvent

EVENTS_FILE = "events.jsonl"
ACKED_FILE = "events.acked"

ONCE_PER_STEP = frozenset(
    {EventKind.PROGRESS, EventKind.SAMPLES, EventKind.CHECKPOINT, EventKind.SCORES, EventKind.OBSERVED}
)
"""Kinds of which a step has one event: after a restart the steps since the checkpoint run again and say the same. After
a roll back they are other steps of the same number, and each has its event again."""


def read_cursor(path: Path) -> int:
    """The number in a cursor file; 0 if there is none or it is damaged (events are then sent again, which is safe)."""
    try:
        return max(0, int(path.read_text()))
    except (OSError, ValueError):
        return 0


def write_cursor(path: Path, seq: int) -> None:
    """Replace a cursor file."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    aside.write_text(str(seq))
    aside.replace(path)


class Spool:
    """Appends events to a job's log. Safe to use from several threads and processes."""

    def __init__(self, job_dir: Path) -> None:
        job_dir.mkdir(parents=True, exist_ok=True)
        self.path = job_dir / EVENTS_FILE
        self._fd: int | None = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._mutex = threading.Lock()
        self._end = 0
        # An acknowledged number is never used again, even if a power loss took the lines from this disk.
        self._floor = read_cursor(job_dir / ACKED_FILE)
        self._last_seq = 0
        self._last_step: dict[str, int] = {}
        self._rollbacks = 0
        self._position = (0, 0)
        with self._locked() as fd:
            self._catch_up(fd)

    @property
    def last_seq(self) -> int:
        """Highest number given so far, as of this writer's last append."""
        return max(self._last_seq, self._floor)

    def append(
        self,
        attempt: int,
        kind: EventKind,
        *,
        step: int | None = None,
        images: int | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> WireEvent | None:
        """Number the event and write it; None if this step has its event of this kind already (`ONCE_PER_STEP`), or a
        roll back is known.

        Without `step` and `images` it is where the newest event is: for a writer that does not train.
        The line survives the death of this process at once, and of the machine after `sync`. Raises OSError if the
        disk is full; the log then ends with the event before.
        """
        with self._locked() as fd:
            self._catch_up(fd)
            step, images = self._position[0] if step is None else step, self._position[1] if images is None else images
            if kind in ONCE_PER_STEP and step <= self._last_step.get(kind, -1):
                return None
            count = _count(data or {}) if kind is EventKind.ROLLED_BACK else 0
            if 0 < count <= self._rollbacks:
                return None
            event = WireEvent(
                seq=self.last_seq + 1,
                attempt=attempt,
                time=datetime.now(UTC),
                kind=kind,
                step=step,
                images=images,
                data=dict(data or {}),
            )
            self._write(fd, event.model_dump_json().encode() + b"\n")
            self._note(event.seq, kind, step, images, count)
            return event

    def sync(self) -> None:
        """Return when everything appended is on the disk. Blocks for the disk: not for the training thread."""
        with self.path.open("rb") as file:  # its own, so that appending and closing need not wait
            os.fsync(file.fileno())

    def close(self) -> None:
        """Sync and release the file; a second call does nothing."""
        with self._mutex:
            if self._fd is not None:
                os.fsync(self._fd)
                os.close(self._fd)
                self._fd = None

    @contextmanager
    def _locked(self) -> Iterator[int]:
        with self._mutex:
            if self._fd is None:
                raise ValueError(f"{self.path} is closed")
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                yield self._fd
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _catch_up(self, fd: int) -> None:
        """Take in what other writers appended, and cut off what a dead one left unfinished. Needs the lock."""
        size = os.fstat(fd).st_size
        if size == self._end:
            return
        if size < self._end:
            self._end = 0
        for line in _lines(self.path, self._end):
            try:
                raw = json.loads(line)
                seq, kind, step, images = int(raw["seq"]), str(raw["kind"]), int(raw["step"]), int(raw["images"])
                count = _count(raw["data"]) if kind == EventKind.ROLLED_BACK else 0
            except (ValueError, KeyError, TypeError):
                break
            self._note(seq, kind, step, images, count)
            self._end += len(line)
        if self._end < size:
            os.ftruncate(fd, self._end)

    def _note(self, seq: int, kind: str, step: int, images: int, rollbacks: int) -> None:
        self._last_seq = max(self._last_seq, seq)
        if rollbacks:
            self._rollbacks = rollbacks
            self._position = (step, images)
            self._last_step = {known: min(last, step) for known, last in self._last_step.items()}
            return
        self._position = max(self._position, (step, images))
        self._last_step[kind] = max(step, self._last_step.get(kind, -1))

    def _write(self, fd: int, line: bytes) -> None:
        try:
            written = os.write(fd, line)
            if written != len(line):
                raise OSError(28, "No space left on device", str(self.path))
        except OSError:
            os.ftruncate(fd, self._end)
            raise
        self._end += len(line)


def _count(data: Mapping[str, Any]) -> int:
    """The number of a roll back."""
    return int(data.get("count", 0))


class SpoolReader:
    """Reads a log that others append to. Holds one position, no events."""

    def __init__(self, job_dir: Path) -> None:
        self.path = job_dir / EVENTS_FILE
        self._offset = 0
        self._seq = 0

    def after(self, seq: int, limit: int) -> list[WireEvent]:
        """Up to `limit` complete events numbered above `seq`, in order."""
        if seq < self._seq or not self.path.exists() or self.path.stat().st_size < self._offset:
            self._offset = self._seq = 0
        found: list[WireEvent] = []
        if not self.path.exists():
            return found
        for line in _lines(self.path, self._offset):
            try:
                event = WireEvent.model_validate_json(line)
            except ValueError:
                break  # a torn tail; the next writer cuts it off
            if event.seq > seq:
                found.append(event)
            elif not found:
                self._offset += len(line)
                self._seq = event.seq
            if len(found) == limit:
                break
        return found


def _lines(path: Path, offset: int) -> Iterator[bytes]:
    """Complete lines from `offset` on."""
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield line
