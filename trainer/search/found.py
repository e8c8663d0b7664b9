"""What has become of a search: its spec, its trials, and which of them are better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from trainer.search.spec import SearchSpec
from trainer.search.trial import TrialRecord, TrialState

ENDED_WELL = (TrialState.COMPLETED, TrialState.STOPPED)


@dataclass(frozen=True)
class Found:
    """A search as far as it has come. id: as the service knows it; None for one without the service. folder: of the
    search, with those of its trials; None if it isn't at hand."""

    search: SearchSpec
    trials: Sequence[TrialRecord]
    id: str | None = None
    folder: Path | None = None

    @property
    def sign(self) -> float:
        """Multiplies scores so that less is better."""
        return 1.0 if self.search.minimises else -1.0

    @property
    def direction(self) -> str:
        """Which way is better."""
        return "lower is better" if self.search.minimises else "higher is better"

    @cached_property
    def ranked(self) -> list[TrialRecord]:
        """Trials that have a score, best first; those that failed come behind all others, as nothing can be made of them."""
        scored = [(trial, score) for trial in self.trials if (score := trial.score) is not None]
        scored.sort(key=lambda one: (one[0].state is TrialState.FAILED, self.sign * one[1], one[0].number))
        return [trial for trial, _ in scored]

    @property
    def best(self) -> TrialRecord | None:
        """The best trial that did not fail; None before the first score."""
        return next((trial for trial in self.ranked if trial.state is not TrialState.FAILED), None)

    @cached_property
    def finished(self) -> list[TrialRecord]:
        """Trials whose values have been judged: ended with a score, or diverged."""
        return [
            trial
            for trial in self.trials
            if trial.state is TrialState.DIVERGED or (trial.state in ENDED_WELL and trial.score is not None)
        ]

    @property
    def diverged(self) -> list[TrialRecord]:
        """Trials that diverged: worse than every score."""
        return [trial for trial in self.trials if trial.state is TrialState.DIVERGED]

    @property
    def images(self) -> int:
        """Real images shown over all trials."""
        return sum(trial.images for trial in self.trials)

    def counts(self) -> dict[str, int]:
        """How many trials are in each state, in the order of the states; those that none is in are left out."""
        states = [trial.state for trial in self.trials]
        return {state.value: states.count(state) for state in TrialState if state in states}

    def ancestry(self, trial: TrialRecord) -> list[tuple[str, int]]:
        """Whose state it trains on with, newest first: (trial, images of whoever took it over at that time)."""
        chain: list[tuple[str, int]] = []
        by_id = {one.id: one for one in self.trials}
        until = float("inf")
        while taken := [clone for clone in trial.clones if clone.images < until]:
            chain.append((taken[-1].source, taken[-1].images))
            if taken[-1].source not in by_id:
                break
            trial, until = by_id[taken[-1].source], taken[-1].images
        return chain
