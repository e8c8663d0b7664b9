"""A local run's folder that begins with another run's checkpoint: hard links, so that it stays whatever becomes of the other one."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from trainer.errors import CheckpointError
from trainer.origin import package
from trainer.origin.facts import MANIFEST, Facts, best_step, carry, facts, is_undone, rolled_back
from trainer.origin.place import CHECKPOINTS, ORIGIN
from trainer.wire import JOB_FILE, Fork, JobFile

_STEP = re.compile(r"step-(\d{9,18})")


def choose(source: Path, which: Literal["latest", "best"] | int = "latest") -> tuple[Path, Facts]:
    """A checkpoint's folder, in the folder of a run or as `source` itself, or a package's, and what it says.

    Raises CheckpointError.
    """
    if (source / MANIFEST).is_file():
        return source, _read(source)
    if package.is_package(source):
        return source, package.about(source)[0]
    folder = source / CHECKPOINTS
    done = rolled_back(folder)
    kept = {int(path.name[5:]): path for path in folder.glob("step-*") if _is_complete(path)}
    asked = sorted(kept, reverse=True) if which == "latest" else [best_step(folder) if which == "best" else which]
    for step in asked:
        if step in kept:
            found = _read(kept[step])
            if not is_undone(done, found.step, found.rollbacks):
                return kept[step], found
    there = ", ".join(map(str, sorted(kept, reverse=True))) or "none"
    missing = {"latest": "no complete checkpoint", "best": "no best checkpoint"}.get(str(which), f"no step {which}")
    raise CheckpointError(
        f"{source} has {missing}; give the folder of a run or of a checkpoint, and --at a step ({there})"
    )


def hold(
    checkpoint: Path, found: Facts, out: Path, mode: Literal["state", "weights"], restart: Sequence[str] = ()
) -> Fork:
    """Put the checkpoint into the folder of the run `out`, all at once, and say what it is. Raises OSError, CheckpointError."""
    place = out / (CHECKPOINTS if mode == "state" else ORIGIN)
    aside = out / f".{place.name}"
    shutil.rmtree(aside, ignore_errors=True)
    target = aside / f"step-{found.step:09d}"
    if packed := package.is_package(checkpoint):
        aside.mkdir(parents=True)
        package.unpack(checkpoint, target)
    else:
        target.mkdir(parents=True)
        for path in checkpoint.iterdir():
            _link(path, target / path.name)
    if mode == "state":
        carry(checkpoint.parent, aside, found)
    shutil.rmtree(place, ignore_errors=True)
    aside.rename(place)
    parent = _parent(checkpoint) if not packed else None
    before = parent.fork.offset if parent is not None and parent.fork is not None else 0
    return Fork(
        mode=mode,
        job=None if packed else parent.job_id if parent is not None else checkpoint.name,
        package=str(checkpoint) if packed else None,
        step=found.step,
        images=found.images,
        offset=before + (found.images if mode == "weights" else 0),
        restart=tuple(restart),
    )


def _is_complete(path: Path) -> bool:
    return _STEP.fullmatch(path.name) is not None and (path / MANIFEST).is_file()


def _read(path: Path) -> Facts:
    try:
        return facts(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is no complete checkpoint") from error


def _parent(checkpoint: Path) -> JobFile | None:
    """The run that wrote it, if its folder says so."""
    try:
        return JobFile.model_validate_json((checkpoint.parent.parent / JOB_FILE).read_bytes())
    except (OSError, ValueError):
        return None


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target)
