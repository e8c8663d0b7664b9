"""What is written down of each trial: `trials/<id>/trial.json`, beside what every job's folder holds."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import Field, JsonValue

from trainer.schema import Frozen

TRIALS = "trials"
TRIAL_FILE = "trial.json"


class TrialState(StrEnum):
    """Where a trial is."""

    PENDING = "pending"  # drawn; waits for resources
    RUNNING = "running"
    PAUSED = "paused"  # the scheduler or a pause of the search holds it; it goes on from its checkpoint
    STOPPED = "stopped"  # ended early: by the scheduler, the budget, or whoever asked for it
    COMPLETED = "completed"  # trained to its full length
    DIVERGED = "diverged"  # non-finite or collapsed; its score is the worst there is
    FAILED = "failed"  # an error, or workers lost too often

    @property
    def ended(self) -> bool:
        """Whether it never runs again (unless the search is extended)."""
        return self not in (TrialState.PENDING, TrialState.RUNNING, TrialState.PAUSED)


class TrialResult(Frozen):
    """One evaluation of a trial."""

    step: int
    images: int
    value: float
    """The metric at this evaluation."""
    score: float
    """Mean of the metric over the last `smooth` evaluations: what trials are compared by."""
    spread: float
    """Standard deviation over these; 0 for one."""
    seconds: float
    """Wall time of the trial so far, without pauses."""


class TrialClone(Frozen):
    """Population-based training: the trial took over another one's state."""

    source: str
    """Trial whose nets, average and optimisers it took."""
    step: int
    """Step of the state that was taken."""
    images: int
    """The target's own images before that."""
    values: dict[str, JsonValue]
    """What the trial goes on with."""


class TrialRecord(Frozen):
    """One trial."""

    id: str
    """`t-00003`: the number, so that a draw has the same name whenever it is drawn again."""
    number: int
    """From 0, in the order in which they were drawn."""
    state: TrialState = TrialState.PENDING
    values: dict[str, JsonValue]
    """Drawn values by path; those whose condition doesn't hold are left out."""
    reason: str = ""
    """Why it ended, for a person."""
    results: tuple[TrialResult, ...] = ()
    """Evaluations of its present life, oldest first. After a clone those of the state it took come first."""
    clones: tuple[TrialClone, ...] = ()
    images: int = Field(default=0, ge=0)
    """Real images shown on this trial's account, clones' steps not counted twice."""
    seconds: float = 0.0
    """Wall time on this trial's account."""

    @property
    def current(self) -> dict[str, JsonValue]:
        """The values that it trains with: those drawn, until it took over another one's state."""
        return self.clones[-1].values if self.clones else self.values

    @property
    def score(self) -> float | None:
        """The newest smoothed score; None before the first evaluation and for a trial that diverged."""
        return self.results[-1].score if self.results and self.state is not TrialState.DIVERGED else None

    @property
    def spread(self) -> float | None:
        """Of that score."""
        return self.results[-1].spread if self.results and self.state is not TrialState.DIVERGED else None


def trial_id(number: int) -> str:
    """The id of the trial with that number."""
    return f"t-{number:05d}"


def trial_dir(search_dir: Path, trial: str) -> Path:
    """The trial's folder, which is a job's folder too."""
    return search_dir / TRIALS / trial


def read_trials(search_dir: Path) -> list[TrialRecord]:
    """All trials that have been written down, by number."""
    found = [
        TrialRecord.model_validate_json(path.read_bytes()) for path in (search_dir / TRIALS).glob(f"*/{TRIAL_FILE}")
    ]
    return sorted(found, key=lambda trial: trial.number)
