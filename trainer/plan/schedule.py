"""How many updates of each kind a training takes, from the phases and the spec alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.objective.phases import Phase
from trainer.spec import JobSpec

MOST_STEPS = 50_000
"""Steps that are counted one by one; the rest of a longer training is taken to go on in the same proportions."""


@dataclass(frozen=True)
class Kind:
    """Updates that cost the same: of one phase, in steps in which the same lazy penalties apply. `step` is the first of them."""

    phase: str
    step: int


@dataclass(frozen=True)
class Schedule:
    """steps: to the end of training. updates: kind → number over the whole training. batches: real batches drawn by all steps."""

    steps: int
    updates: dict[Kind, float]
    batches: float


def schedule(spec: JobSpec, phases: Sequence[Phase]) -> Schedule:
    """Walk through the training as `engine.step` does, without computing."""
    intervals = sorted({getattr(penalty, "interval", 1) for penalty in spec.objective.penalties} - {1})
    first: dict[tuple[str, tuple[bool, ...]], Kind] = {}
    counts: Counter[Kind] = Counter()
    total, step, batches = -(-spec.train.images // spec.train.batch), 0, 0
    while batches < total and step < MOST_STEPS:
        due, drawn = tuple(step % interval == 0 for interval in intervals), False
        for phase in phases:
            repeats = phase.repeats(step)
            fresh = repeats if phase.fresh_data else int(repeats > 0 and not drawn)
            drawn, batches = drawn or fresh > 0, batches + fresh
            counts[first.setdefault((phase.name, due), Kind(phase.name, step))] += repeats
        step += 1
    scale = max(1.0, total / max(1, batches)) if step == MOST_STEPS else 1.0
    return Schedule(round(step * scale), {kind: n * scale for kind, n in counts.items() if n}, batches * scale)
