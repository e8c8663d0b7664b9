"""What of a run that has ended need not be kept: superseded checkpoints by its own policy and the server's, old sample grids if asked,
and what processes left that died. What is pinned lies apart, what a fork stands on is in the fork's folder: neither is looked at.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from service.db.tables import Job
from service.runs import checkpoints, files, samples
from service.runs.checkpoints import CHECKPOINTS, PINNED
from service.runs.kinds import kind_of
from service.runs.places import REMOVED, inside
from service.settings import Settings
from trainer.retention import Keep, kept
from trainer.search.trial import TRIALS
from trainer.wire import GRIDS

LEFT_SECONDS = 3600.0
"""After which what is half written was left by a process that died."""
BEST = "best"
"""Folder of what a search registers: `TRIAL-STEP`, as `trainer.launch.tune.best` names it."""
HALF_WRITTEN = (".writing-", ".pinning-", REMOVED)
UNDONE = ("sick-", "damaged-")
"""What the names of checkpoints begin with that are kept for whoever wants to look, but never gone on from."""
What = Literal["checkpoint", "samples", "leftover", "deletion"]


@dataclass(frozen=True)
class Garbage:
    """Something that can go."""

    what: What
    paths: tuple[Path, ...]
    reason: str
    run: str | None = None
    trial: str | None = None
    step: int | None = None

    @property
    def size(self) -> int:
        """Bytes that the disk gains: what has another name, a pin's or a fork's, gains nothing."""
        return sum(_gain(path) for path in self.paths)


def of_run(
    settings: Settings, job: Job, samples_days: float | None = None, now: datetime | None = None
) -> list[Garbage]:
    """Of a run at rest, and of its trials. samples_days: its grids go, too, but for the newest, if it ended longer ago."""
    now = now or datetime.now(UTC)
    ended = now - (job.finished_at or now)
    spec = job.spec.get("base", job.spec)
    folder = files.job_dir(settings, job.id)
    places: list[tuple[Path, str | None]] = [(folder, None)]
    if kind_of(job).has_trials and (trials := inside(settings.jobs_root, folder, TRIALS)) is not None:
        with suppress(OSError):
            places += [(folder / TRIALS / entry.name, entry.name) for entry in sorted(trials.iterdir())]
    old = settings.keep_days is not None and ended > timedelta(days=settings.keep_days)
    grids = samples_days is not None and ended > timedelta(days=samples_days)
    found: list[Garbage] = []
    for place, trial in places:
        one = _Place(settings, job, place, trial)
        found += one.checkpoints(spec, old=old)
        found += one.undone() if old else []
        found += one.grids() if grids else []
        found += one.leftovers()
    return found


def policy(settings: Settings, spec: Mapping[str, Any]) -> Keep:
    """What a run that has ended keeps: no more of a kind than its spec says and the server allows."""
    section = spec.get("checkpoint", {})
    own = Keep(int(section.get("keep_last", 3)), int(section.get("keep_best", True)), section.get("keep_every_images"))
    return own.within(settings.keep_last, settings.keep_best, settings.keep_every_images)


@dataclass(frozen=True)
class _Place:
    """The folder of a job or trial."""

    settings: Settings
    job: Job
    folder: Path
    trial: str | None

    def checkpoints(self, spec: Mapping[str, Any], *, old: bool) -> Iterator[Garbage]:
        """The superseded ones; of an old run all, but for the newest of one that registered a version."""
        root = self.settings.jobs_root
        saved = {item.step: item for item in checkpoints.every(root, self.folder, pinned=False)}
        keep = policy(self.settings, spec)
        if old:
            stay, reason = set[int](), self._aged()
        else:
            stay = set(kept({step: checkpoints.images(item) for step, item in saved.items()}, self._best(), keep))
            reason = f"superseded: {_words(keep)}"
        for step in sorted(saved.keys() - stay - self._registered(saved)):
            yield self._garbage("checkpoint", (saved[step].path,), reason, step)

    def undone(self) -> Iterator[Garbage]:
        """What a roll back has undone, or was found damaged."""
        for path in self._named(CHECKPOINTS, UNDONE):
            yield self._garbage("checkpoint", (path,), f"undone or damaged, and {self._aged()}")

    def grids(self) -> Iterator[Garbage]:
        """All sample grids but the newest."""
        place = inside(self.settings.jobs_root, self.folder, GRIDS)
        older = (
            [place / f"step-{step:09d}.png" for step in samples.steps(self.settings.jobs_root, self.folder)[1:]]
            if place
            else []
        )
        if older:
            yield self._garbage("samples", tuple(older), "sample grids of an old run; the newest stays")

    def leftovers(self) -> Iterator[Garbage]:
        """What is half written, or half removed, for long."""
        for name in (CHECKPOINTS, PINNED, GRIDS):
            for path in self._named(name, HALF_WRITTEN):
                if _left(path):
                    yield self._garbage("leftover", (path,), "half written or half removed when a process died")

    def _registered(self, saved: Collection[int]) -> set[int]:
        """The steps of which a version was made: it is forked by them. A job's is its newest, a search notes that of each trial."""
        if self.trial is None:
            return set(sorted(saved)[-1:]) if self.job.model is not None else set()
        best = inside(self.settings.jobs_root, files.job_dir(self.settings, self.job.id), BEST)
        try:
            names = [path.name for path in best.iterdir()] if best is not None else []
        except OSError:
            names = []
        steps = [name.removeprefix(f"{self.trial}-") for name in names if name.startswith(f"{self.trial}-")]
        return {int(step) for step in steps if step.isascii() and step.isdecimal()}

    def _aged(self) -> str:
        return f"its {self.job.kind} ended more than {self.settings.keep_days:g} days ago"

    def _best(self) -> tuple[int, ...]:
        return checkpoints.ranked(self.settings.jobs_root, self.folder)

    def _named(self, name: str, prefixes: tuple[str, ...]) -> list[Path]:
        place = inside(self.settings.jobs_root, self.folder, name)
        try:
            return (
                sorted(path for path in place.iterdir() if path.name.startswith(prefixes)) if place is not None else []
            )
        except OSError:
            return []

    def _garbage(self, what: What, paths: tuple[Path, ...], reason: str, step: int | None = None) -> Garbage:
        return Garbage(what, paths, reason, self.job.id, self.trial, step)


def _words(keep: Keep) -> str:
    """`of what has ended the newest stays, the 2 best, one of every 1,000,000 images`."""
    newest = "the newest stays" if keep.last == 1 else f"the {keep.last} newest stay"
    best = {0: [], 1: ["the best"]}.get(keep.best, [f"the {keep.best} best"])
    every = [f"one of every {keep.every_images:,} images"] if keep.every_images else []
    return ", ".join([f"of what has ended {newest}", *best, *every])


def _left(path: Path) -> bool:
    try:
        return time.time() - path.lstat().st_mtime > LEFT_SECONDS
    except OSError:
        return False


def _gain(path: Path) -> int:
    """Bytes of a file or folder that have no other name."""
    try:
        about = path.lstat()
        if stat.S_ISDIR(about.st_mode):
            with os.scandir(path) as entries:
                return sum(_gain(Path(entry.path)) for entry in entries)
    except OSError:
        return 0
    return about.st_size if about.st_nlink == 1 else 0
