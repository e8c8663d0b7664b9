"""Which checkpoints are the best. Pure, but for reading and writing `best.json`; what stays is `trainer.retention`'s to say."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

from pydantic import ValidationError

from trainer.checkpoint.files import put_json
from trainer.schema import Frozen
from trainer.spec import JobSpec
from trainer.spec.sections import HIGHER_IS_BETTER

BEST_FILE = "best.json"


class Ranked(Frozen):
    """A checkpoint with a score."""

    step: int
    value: float


class Best(Frozen):
    """`best.json`: the checkpoints with the best scores so far. Written only once both are on disk."""

    step: int
    metric: str
    value: float
    behind: tuple[Ranked, ...] = ()
    """The next best, the better ones first."""

    @property
    def steps(self) -> tuple[int, ...]:
        """The best first."""
        return (self.step, *(ranked.step for ranked in self.behind))

    def without(self, gone: Collection[int]) -> Best | None:
        """Of those that are left."""
        every = (Ranked(step=self.step, value=self.value), *self.behind)
        return _of(self.metric, [ranked for ranked in every if ranked.step not in gone])

    @classmethod
    def read(cls, directory: Path) -> Best | None:
        """The record, or None if there is none that can be read."""
        try:
            return cls.model_validate_json((directory / BEST_FILE).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def write(self, directory: Path) -> None:
        """Replace the record."""
        put_json(directory / BEST_FILE, self.model_dump())


def metric_of(spec: JobSpec) -> str | None:
    """The score that decides which checkpoint is best: `publish.metric`, else the first of `evaluation.metrics`.

    None where neither names one: then no score says which is best.
    """
    if spec.publish:
        return spec.publish.metric
    return next(iter(spec.evaluation.metrics), None)


def ranked(best: Best | None, metric: str, step: int, value: float, count: int) -> Best | None:
    """The record with that score, if it is among the `count` best so far; None: it isn't.

    A score that is not finite never is; those of another metric are forgotten. Of equal ones the earlier is the better.
    """
    if not math.isfinite(value) or not count:
        return None
    if best is None or best.metric != metric:
        return Best(step=step, metric=metric, value=value)
    before = [Ranked(step=best.step, value=best.value), *best.behind]
    sign = -1.0 if metric in HIGHER_IS_BETTER else 1.0
    if any(other.step == step and sign * other.value <= sign * value for other in before):
        return None  # what is on the disk was the better one
    every = [*(other for other in before if other.step != step), Ranked(step=step, value=value)]
    chosen = sorted(every, key=lambda other: sign * other.value)[:count]
    return _of(metric, chosen) if any(other.step == step for other in chosen) else None


def _of(metric: str, every: list[Ranked]) -> Best | None:
    return Best(step=every[0].step, metric=metric, value=every[0].value, behind=tuple(every[1:])) if every else None
