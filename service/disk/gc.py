"""Collecting what nobody needs: of each run at rest what `service.runs.retention` says, and what runs left behind that there are no
more, or never were.

A run's row is locked while its things are hidden, and what is hidden is removed behind that: so none begins to train meanwhile,
nobody sees half of a thing, and what a crash leaves is hidden and goes the next time.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from service.bodies import disk as bodies
from service.db.session import Database
from service.db.tables import Job
from service.disk import store
from service.gateway.registry import Registry
from service.runs import deletion, retention
from service.runs.deletion import DELETED
from service.runs.places import take_away
from service.runs.retention import Garbage
from service.runs.store import at_rest
from service.settings import Settings
from trainer.wire import JOB_FILE, SEARCH_FILE

RUNS, DELETIONS = 200, 200
"""That one call looks at, at most."""
SECONDS = 10.0
"""After which a call stops at the next run."""
LEFT_SECONDS = 24 * 3600.0
"""After which a folder that no run has was left by a request that died: none takes as long."""
_ID = re.compile(r"[js]-[0-9a-f]{12}")
_ASIDE = re.compile(r"^\.[js]-[0-9a-f]{12}\.[0-9a-f]+$")


@dataclass
class Collector:
    """One call."""

    db: Database
    settings: Settings
    registry: Registry | None
    asked: bodies.Collect
    items: list[bodies.Garbage] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def run(self) -> bodies.Collected:
        """Look at the next runs, and remove what can go unless it is a dry run."""
        until = time.monotonic() + SECONDS
        if not self.asked.cursor:
            self._deletions()
            self._folders()
        with self.db.read() as session:
            leaving = 0 if self.asked.cursor else store.leaving(session)
            runs = store.at_rest(session, self.asked.cursor, RUNS)
        following = runs[-1].number if len(runs) == RUNS else None
        for job in runs:
            self._run(job)
            if time.monotonic() > until and job is not runs[-1]:
                following = job.number
                break
        return bodies.Collected(
            dry_run=self.asked.dry_run,
            items=tuple(self.items),
            bytes=sum(item.bytes for item in self.items),
            left=tuple(self.left),
            leaving=leaving,
            next_cursor=following,
        )

    def _run(self, job: Job) -> None:
        """What of one run can go."""
        found = retention.of_run(self.settings, job, self.asked.samples_days)
        sizes = [item.size for item in found]
        if found and not self.asked.dry_run:
            with self.db.begin() as session:
                now = store.locked(session, job.number)
                if now is None or not at_rest(now) or now.fence != job.fence:
                    return  # deleted, or it goes on, or has: it is looked at the next time
                hidden = list(self._hidden(found))
            _clear(hidden)
        self._tell(found, sizes)

    def _hidden(self, found: list[Garbage]) -> Iterator[Path]:
        for item in found:
            for path in item.paths:
                try:
                    yield take_away(path)
                except FileNotFoundError:
                    continue  # another was faster
                except OSError as error:
                    self.left.append(f"{path}: {error.strerror or error}")

    def _folders(self) -> None:
        """Folders of requests that died before anyone could see their runs, and of deletions that nobody knows of."""
        for path in self._strangers():
            run = _ID.search(path.name)
            item = Garbage("leftover", (path,), "of a run that there is not", run[0] if run else None)
            sizes = [item.size]
            if not self.asked.dry_run:
                _clear([path])
            self._tell([item], sizes)

    def _strangers(self) -> list[Path]:
        with suppress(OSError):
            entries = sorted(self.settings.jobs_root.iterdir())
            with self.db.read() as session:
                ids = [path.name for path in entries if _ID.fullmatch(path.name) and _never_began(path)]
                nobodys = set(ids)
                for begin in range(0, len(ids), 500):
                    nobodys -= store.known(session, ids[begin : begin + 500])
                gone = {f"{DELETED}{one.id}" for one in store.deletions(session, 10**6)}
            strange = [
                path
                for path in entries
                if path.name in nobodys
                or _ASIDE.match(path.name)
                or (path.name.startswith(DELETED) and path.name not in gone)
            ]
            return [path for path in strange if path.is_dir() and not path.is_symlink() and _old(path)]
        return []

    def _deletions(self) -> None:
        with self.db.read() as session:
            begun = store.deletions(session, DELETIONS)
        for one in begun:
            paths = tuple(path for path in deletion.folders(self.settings, one.id) if path.exists())
            item = Garbage("deletion", paths, "its deletion broke off", one.id)
            sizes = [item.size]
            if not self.asked.dry_run:
                self.left += [
                    f"{one.kind} {one.id}: {left}"
                    for left in deletion.finish(self.db, self.settings, self.registry, one)
                ]
            self._tell([item], sizes)

    def _tell(self, found: list[Garbage], sizes: list[int] | None = None) -> None:
        for item, size in zip(found, sizes or [item.size for item in found], strict=True):
            self.items.append(
                bodies.Garbage(
                    what=item.what,
                    run=item.run,
                    trial=item.trial,
                    step=item.step,
                    count=len(item.paths),
                    bytes=size,
                    reason=item.reason,
                )
            )


def _never_began(folder: Path) -> bool:
    """Whether no driver ever had it: a folder with a run's file is a run's, whatever this database knows."""
    return not any((folder / name).exists() for name in (JOB_FILE, SEARCH_FILE))


def _old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > LEFT_SECONDS
    except OSError:
        return False


def _clear(hidden: list[Path]) -> None:
    for path in hidden:
        shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):
            path.unlink()
