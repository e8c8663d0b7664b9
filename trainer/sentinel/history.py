"""What the sentinel remembers: a value that is saved with the state, so that a restarted training is judged the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field

from trainer.schema import Frozen

WINDOW = 10
"""Looks that a growth is measured over, and looks at the beginning that nothing is judged by: first steps are wild."""


class Look(Frozen):
    """What was measured at a step; only finite values."""

    step: int
    values: Mapping[str, float]


class History(Frozen):
    """All that later verdicts depend on."""

    looks: tuple[Look, ...] = ()
    """The newest `WINDOW` + 1."""
    seen: int = Field(default=0, ge=0)
    """Looks so far."""
    streaks: Mapping[str, int] = {}
    """Rule → looks (or scores) in a row that showed its symptom, up to now; absent: none."""
    told: tuple[str, ...] = ()
    """Rules whose present streak a person has been told of."""
    healthy: int = 0
    """The newest step at which no rule had any suspicion. A checkpoint up to there is worth returning to."""
    scored: int = -1
    """Step of the newest score."""
    best: float | None = None
    """The best score so far."""

    @property
    def step(self) -> int:
        """Of the newest look; -1 before the first."""
        return self.looks[-1].step if self.looks else -1


@dataclass(frozen=True)
class Symptom:
    """What a rule has seen often enough to say so. message: for a person, with numbers and what to change."""

    rule: str
    message: str
