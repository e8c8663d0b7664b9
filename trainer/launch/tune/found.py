"""What comes of a search."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.search import TrialRecord


@dataclass(frozen=True)
class Found:
    """What a search has found."""

    trials: tuple[TrialRecord, ...]
    """All trials, by number."""
    best: TrialRecord | None
    """The one with the best score."""
    finished: bool
    """Whether all trials have ended; False after a pause."""
    problem: str | None = None
    """Why it ended before all trials were drawn."""
