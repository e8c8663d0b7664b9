"""What a trial has done so far. Pure, but for reading and writing `progress.json` in the trial's folder."""

from __future__ import annotations

import os
import statistics
from pathlib import Path

from trainer.schema import Frozen
from trainer.search import TrialClone, TrialResult

PROGRESS_FILE = "progress.json"


class Progress(Frozen):
    """`progress.json`, written by the trial at each evaluation."""

    results: tuple[TrialResult, ...] = ()
    """Evaluations of its present life, oldest first."""
    clones: tuple[TrialClone, ...] = ()
    """States that it took over, oldest first."""
    images: int = 0
    """Real images shown on its account."""
    seconds: float = 0.0
    """Wall time on its account."""
    position: int = 0
    """Images of the training up to which `images` counts: a checkpoint may be further than the last evaluation."""

    @classmethod
    def read(cls, folder: Path) -> Progress:
        """The record, or an empty one if there is none."""
        try:
            return cls.model_validate_json((folder / PROGRESS_FILE).read_bytes())
        except FileNotFoundError:
            return cls()

    def write(self, folder: Path) -> None:
        """Replace the record; a reader sees the old or the new one."""
        replace_text(folder / PROGRESS_FILE, self.model_dump_json(indent=1))

    def since(self, step: int) -> Progress:
        """After a restart from the checkpoint of `step`: later evaluations will come again."""
        return self.replace(results=tuple(result for result in self.results if result.step <= step))

    def scored(self, step: int, images: int, value: float, *, smooth: int, shown: int, seconds: float) -> Progress:
        """After an evaluation: its value, and the mean of the last `smooth` values as the score.

        shown, seconds: images and wall time since the last change of this record. An evaluation of a step that is known
        is told once more after a restart, and replaces what was known.
        """
        before = tuple(result for result in self.results if result.step < step)
        window = [*(result.value for result in before), value][-smooth:]
        images_spent, spent = self.images + shown, self.seconds + seconds
        result = TrialResult(
            step=step,
            images=images,
            value=value,
            score=statistics.fmean(window),
            spread=statistics.pstdev(window),
            seconds=spent,
        )
        return self.replace(results=(*before, result), images=images_spent, seconds=spent, position=images)

    def counted(self, *, position: int, shown: int, seconds: float) -> Progress:
        """At a start, at the end, or at a stop between two evaluations."""
        return self.replace(images=self.images + shown, seconds=self.seconds + seconds, position=position)


def replace_text(path: Path, text: str) -> None:
    """Replace a small file in one step; a power cut leaves the old one or the new one, too."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
