"""Which checkpoints stay: the newest few and the best. Pure, but for reading and writing `best.json`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from trainer.checkpoint.files import put_json
from trainer.schema import Frozen
from trainer.spec import JobSpec
from trainer.spec.sections import HIGHER_IS_BETTER

BEST_FILE = "best.json"


class Best(Frozen):
    """`best.json`: the checkpoint with the best score so far. Written only once both are on disk."""

    step: int
    metric: str
    value: float

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


def improves(best: Best | None, metric: str, value: float) -> bool:
    """Whether `value` is better than the best so far. A score that is not finite never is; one of another metric says nothing."""
    if not math.isfinite(value):
        return False
    if best is None or best.metric != metric:
        return True
    return value > best.value if metric in HIGHER_IS_BETTER else value < best.value


def to_remove(steps: Iterable[int], keep_last: int, best: int | None) -> list[int]:
    """Steps whose checkpoints go: all but the `keep_last` newest and `best`. Ascending."""
    ordered = sorted(steps)
    return [step for step in ordered[:-keep_last] if step != best]
