"""What ends trials before their length, beside the scheduler: the search's budget, and whoever stops one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray.tune import Stopper

if TYPE_CHECKING:
    from trainer.launch.tune.book import Book, Clock
    from trainer.launch.tune.wishes import Wishes


class Limits(Stopper):  # type: ignore[misc]
    """Asked by Tune after each result, and about ten times a second for the search as a whole."""

    def __init__(self, book: Book, clock: Clock, wishes: Wishes) -> None:
        self._book, self._clock, self._wishes = book, clock, wishes
        self.spent: str | None = None
        """Which limit has ended the search; None: none."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether this trial shall end."""
        return trial_id in self._wishes.stop_trials

    def stop_all(self) -> bool:
        """Whether the search shall end."""
        budget = self._book.search.budget
        if budget.images is not None and self._book.images >= budget.images:
            self.spent = f"the search's budget of {budget.images:,} images is spent"
        elif budget.seconds is not None and self._clock.seconds >= budget.seconds:
            self.spent = f"the search's budget of {budget.seconds:g} s is spent"
        return self.spent is not None

    def why(self, trial: str) -> str:
        """Why a trial ends before its length."""
        if trial in self._wishes.stop_trials:
            return "stopped as asked"
        if self.spent is not None:
            return self.spent
        record = self._book.get(trial)
        images = record.results[-1].images if record.results else 0
        return f"not among the best at {images:,} images" if self._book.search.scheduler == "asha" else "stopped"

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune writes stoppers down with an experiment's state, which no search goes on from
