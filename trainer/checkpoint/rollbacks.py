"""The record of roll backs: which steps are undone, so that no restart goes on from a checkpoint that was sick.

`rollbacks.json` is replaced atomically before any checkpoint is touched, and says for every checkpoint whether it still
belongs to the training. So a roll back that dies half way is finished by the next start.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

from pydantic import Field, ValidationError

from trainer.checkpoint.files import put_json, step_path, steps
from trainer.checkpoint.keep import BEST_FILE, Best
from trainer.checkpoint.manifest import META, verify
from trainer.engine.state import Correction
from trainer.errors import CheckpointError
from trainer.schema import Frozen

ROLLBACKS_FILE = "rollbacks.json"
SICK = "sick-"


class RollBack(Frozen):
    """One return to an earlier state."""

    reason: str
    from_step: int = Field(ge=0)
    """Where the training was when it was given up."""
    to_step: int = Field(ge=0)
    """The checkpoint it returned to; 0: there was no healthy one, so it began anew."""
    to_images: int = Field(ge=0)
    """Images shown at `to_step`."""
    lr_factor: float = Field(gt=0.0)
    """On the learning rates before."""


class RollBacks(Frozen):
    """`rollbacks.json`: all roll backs of a training in order."""

    done: tuple[RollBack, ...] = ()

    @classmethod
    def read(cls, directory: Path) -> RollBacks:
        """The record; empty if there is none. Raises CheckpointError if it can't be read: guessing might resume a sick state."""
        path = directory / ROLLBACKS_FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return cls()
        except ValidationError as error:
            raise CheckpointError(f"{path} is damaged; repair it, or start afresh (--fresh)") from error

    def write(self, directory: Path) -> None:
        """Replace the record; it is on the disk when this returns."""
        directory.mkdir(parents=True, exist_ok=True)
        put_json(directory / ROLLBACKS_FILE, self.model_dump())

    @property
    def correction(self) -> Correction:
        """What they change of the training that goes on."""
        return self.correction_after(len(self.done))

    def correction_after(self, count: int) -> Correction:
        """What the first `count` of them change."""
        return Correction(count, math.prod((one.lr_factor for one in self.done[:count]), start=1.0))

    def keeps(self, step: int, count: int) -> bool:
        """Whether a checkpoint of `step`, written after `count` roll backs, has not been undone since."""
        return all(step <= later.to_step for later in self.done[count:])


def healthy_checkpoint(directory: Path, record: RollBacks, latest_step: int) -> tuple[int, int]:
    """Step and images of the newest undamaged checkpoint that is still of the training, up to `latest_step`; (0, 0): none."""
    for step in reversed(steps(directory)):
        path = step_path(directory, step)
        try:
            verify(path)
        except CheckpointError:
            continue
        meta = json.loads((path / META).read_bytes())
        if step <= latest_step and record.keeps(step, int(meta.get("rollbacks", 0))):
            return step, int(meta["clock"]["images"])
    return 0, 0


def set_aside(directory: Path, record: RollBacks) -> None:
    """Rename the checkpoints that roll backs have undone to `sick-<n>-step-…`, n the roll backs before they were written.

    Of each n the newest stays for whoever wants to look; the others are removed. A best score from undone steps is
    forgotten. Only for a directory's one writer; doing it again changes nothing.
    """
    if not record.done:
        return
    sick = {step: count for step in steps(directory) if (count := _undone(directory, record, step)) is not None}
    best = Best.read(directory)
    if best is not None and (left := best.without(sick)) != best:
        left.write(directory) if left is not None else (directory / BEST_FILE).unlink()
    for step, count in sick.items():
        path = step_path(directory, step)
        kept = path.with_name(f"{SICK}{count}-{path.name}")
        shutil.rmtree(kept, ignore_errors=True)
        path.rename(kept)
    for count in range(len(record.done)):
        for old in sorted(directory.glob(f"{SICK}{count}-step-*"))[:-1]:
            shutil.rmtree(old, ignore_errors=True)


def _undone(directory: Path, record: RollBacks, step: int) -> int | None:
    """After how many roll backs this checkpoint was written, if it has been undone; None if it stays or can't be read."""
    try:
        meta = json.loads((step_path(directory, step) / META).read_bytes())
    except (OSError, ValueError):
        return None  # damaged: `restore` puts it aside as such
    count = int(meta.get("rollbacks", 0))
    return None if record.keeps(step, count) else count
