"""Copies the folders of runs, pass after pass: of those on the cluster every half minute, of those that have left it once more, and of
all others once, little by little, so that what was written before there was a mirror is copied, too.

One process of all does it, the one that holds a lock on the jobs' storage; another takes over when that is gone. Killed at any point,
the next pass goes on: what the copy has is written down beside each folder.
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import PriorityQueue
from typing import IO

from sqlalchemy import select

from service.bodies.states import State
from service.db.session import Database
from service.db.tables import Job
from service.runs import files
from service.settings import Settings
from trainer.mirror.copying import copy, forget
from trainer.mirror.place import MirrorError, Place

LOCK = ".mirror.lock"
PAUSE_SECONDS = 30.0
ALL = 1 << 62
WIDTH = 4
"""Folders that are copied at once."""
SLICE = 200
"""Runs at rest that wait to be copied at most, before more are looked for."""
ROUND_SECONDS = 6 * 3600.0
"""How often all runs at rest are looked at: what `agon gc` took leaves the copy, what came later is copied."""
STOP_SECONDS = 1.5
logger = logging.getLogger("agon.mirror")


class Mirror:
    """One of perhaps several."""

    def __init__(
        self, db: Database, settings: Settings, place: Callable[[], Place], pause: float = PAUSE_SECONDS
    ) -> None:
        self._db, self._settings, self._make, self._pause = db, settings, place, pause
        self._place: Place | None = None
        self._stopping = threading.Event()
        self._queue: PriorityQueue[tuple[bool, int, str]] = PriorityQueue()
        """Those on the cluster first."""
        self._count = itertools.count()
        self._checked: set[str] = set()
        """Those of which the store was asked what it has."""
        self._under_way: set[str] = set()
        """Those that are copied, or about to be."""
        self._active: set[str] = set()
        self._owed: set[str] = set()
        """Those that have left the cluster, or failed, and are to be copied once more."""
        self._before: int | None = None
        """Runs at rest of lower numbers haven't been looked at; None: all were."""
        self._round = time.monotonic()

    def start(self) -> Callable[[], None]:
        """Begin, in a thread. Returns what stops it: what is being copied is left, and goes on with the next start."""
        thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        thread.start()
        for _ in range(WIDTH):  # a store that hangs keeps no process from ending
            threading.Thread(target=self._work, name="mirror: copying", daemon=True).start()

        def stop() -> None:
            self._stopping.set()
            thread.join(timeout=STOP_SECONDS)

        return stop

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._alone() as mine:
                    self._before = ALL if mine else None
                    while mine and not self._stopping.is_set():
                        self._look_safely()
                        self._stopping.wait(self._pause)
            except OSError as error:  # the storage's trouble, or one that has no locks
                logger.warning("nobody copies runs: the lock can't be had; trying again", extra={"reason": str(error)})
            self._stopping.wait(self._pause)

    def _look_safely(self) -> None:
        try:
            self.look()
        except Exception:  # the database's or the client's trouble
            logger.warning("runs can't be copied now; trying again", exc_info=True)

    def look(self) -> None:
        """Begin to copy all that are due; those that are under way go on."""
        active, rest = self._due()
        self._owed |= (self._active - active) | rest
        self._active = active
        for run in [*sorted(active), *sorted(self._owed - active)]:
            if run not in self._under_way:
                self._owed.discard(run)
                self._under_way.add(run)
                self._queue.put((run not in active, next(self._count), run))

    def _due(self) -> tuple[set[str], set[str]]:
        """Those on the cluster, and the next ones that are not."""
        on_cluster = [state for state in State if state.on_ray]
        with self._db.read() as session:
            active = set(session.scalars(select(Job.id).where(Job.state.in_(on_cluster))))
            if self._before is None and time.monotonic() - self._round > ROUND_SECONDS:
                self._before, self._round = ALL, time.monotonic()
            if self._before is None or len(self._owed | self._under_way) > SLICE:
                return active, set()
            asked = select(Job.number, Job.id).where(Job.number < self._before).order_by(Job.number.desc()).limit(SLICE)
            rows = session.execute(asked).all()
        self._before = rows[-1].number if len(rows) == SLICE else None
        return active, {row.id for row in rows} - active

    def _work(self) -> None:
        while True:
            rests, _, run = self._queue.get()
            try:
                if not self._stopping.is_set():
                    self.copy(run, rests=rests)
            except Exception:  # of one run: no other waits for it
                self._owed.add(run)
                logger.warning("a run can't be copied now; trying again", extra={"run": run}, exc_info=True)
            finally:
                self._under_way.discard(run)

    def copy(self, run: str, *, rests: bool) -> None:
        """One pass over a run's folder; what failed is owed."""
        folder = files.job_dir(self._settings, run)
        try:
            self._place = self._place or self._make()
            if not folder.is_dir():
                self._forget_if_deleted(run)
                return
            check = run not in self._checked
            done = copy(folder, self._place, run, rests=rests, check=check, stop=self._stopping.is_set)
            self._checked.add(run)
            self._forget_if_deleted(run)
        except (MirrorError, OSError) as error:
            self._owed.add(run)
            logger.warning("a run can't be copied now; trying again", extra={"run": run, "reason": str(error)})
            return
        for wrong in done.wrong:
            logger.error("a file is not copied", extra={"run": run, "reason": wrong})
        if done.copied or done.removed:
            facts = {"run": run, "files": done.copied, "bytes": done.bytes, "removed": done.removed}
            logger.info("copied", extra=facts)

    def _forget_if_deleted(self, run: str) -> None:
        """What was sent while the run was being deleted came after its copy had gone."""
        with self._db.read() as session:
            if session.scalar(select(Job.number).where(Job.id == run)) is None and self._place is not None:
                forget(self._place, run)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether this process is the one that copies. Raises OSError."""
        root: Path = self._settings.jobs_root
        root.mkdir(parents=True, exist_ok=True)
        with (root / LOCK).open("a") as lock:
            yield _locked(lock)


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
