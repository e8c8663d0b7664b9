"""A trial's state on its way to another trial: population-based training copies the good ones.

Tune carries a folder from one to the other. The one that takes it over stages the state beside its own, writes its record,
and lets them change places; so a process that dies in between leaves a trial before the clone or behind it, never between.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from trainer.launch.tune.progress import Progress
from trainer.schema import Frozen
from trainer.search import TrialClone
from trainer.search.space import Values
from trainer.spec import JobSpec

SOURCE_FILE = "source.json"
CHECKPOINT_SECONDS = 600.0
CHECKPOINTS = "checkpoints"


class Source(Frozen):
    """Beside the state in one of Tune's checkpoints: whose it is."""

    trial: str
    step: int
    progress: Progress


def give(folder: Path, trial: str, progress: Progress, target: Path) -> None:
    """Put the state of the trial's last evaluation into `target`. Raises TimeoutError if it is not written in time."""
    from trainer.checkpoint.files import step_path

    last = progress.results[-1]
    source = step_path(folder / CHECKPOINTS, last.step)
    deadline = time.monotonic() + CHECKPOINT_SECONDS
    while not (source / "manifest.json").exists():  # a thread of the training writes it
        if time.monotonic() > deadline:
            raise TimeoutError(f"{source} was not written within {CHECKPOINT_SECONDS:g} s")
        time.sleep(0.05)
    shutil.copytree(source, target / source.name, copy_function=_link)
    whose = Source(trial=trial, step=last.step, progress=progress)
    (target / SOURCE_FILE).write_text(whose.model_dump_json())


def take(given: Path, folder: Path, trial: str, spec: JobSpec, own: Progress, values: Values) -> Progress | None:
    """Make the state in `given` that of this trial, to go on with `spec`; its record after that.

    None, and nothing is changed, if it is the trial's own, or was taken over before a restart. Raises CheckpointError if it
    can't be taken over.
    """
    from trainer.checkpoint.clone import stage
    from trainer.checkpoint.files import step_path

    source = Source.model_validate_json((given / SOURCE_FILE).read_bytes())
    known = own.clones[-1] if own.clones else None
    done = known is not None and (known.source, known.step, known.values) == (source.trial, source.step, values)
    if source.trial == trial or done:
        return None
    stage(step_path(given, source.step), _aside(folder, len(own.clones)), spec)
    images = own.results[-1].images if own.results else 0
    clone = TrialClone(source=source.trial, step=source.step, images=images, values=values)
    progress = own.replace(
        results=source.progress.results, clones=(*own.clones, clone), position=source.progress.position
    )
    progress.write(folder)  # from here on it is this trial's state, whatever dies
    settle(folder, progress)
    return progress


def settle(folder: Path, progress: Progress) -> None:
    """Let the newest clone's state take its place, if a crash has left it aside; forget one of which the record doesn't tell."""
    count = len(progress.clones)
    if count and (newest := _aside(folder, count - 1)).exists():
        from trainer.checkpoint.clone import adopt

        adopt(newest, folder / CHECKPOINTS)
    shutil.rmtree(_aside(folder, count), ignore_errors=True)


def _aside(folder: Path, number: int) -> Path:
    """Where the state of a trial's clone `number` waits until the record tells of it."""
    return folder / f"clone-{number}"


def _link(source: str, target: str) -> None:
    """A hard link where the two lie on one file system, else a copy: checkpoints are written once and never changed."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
