"""Bodies of the searches' endpoints, as docs/interfaces.md promises them."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, JsonValue, model_validator

from service.bodies.base import Reply, Request, or_new
from service.bodies.runs import Run
from trainer.search import Budget, TrialClone, TrialResult, TrialState

EXAMPLE: dict[str, JsonValue] = {
    "name": "digits-lr",
    "base": {"recipe": "dcgan-digits", "set": {"train.images": 100_000}},
    "space": {"optimizers.G.lr": {"loguniform": [1e-5, 1e-2], "also": ["optimizers.D.lr"]}},
    "algorithm": "asha+optuna",
    "trials": 16,
}


class SearchRequest(Request):
    """A search to start."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"search": EXAMPLE}]})

    search: dict[str, JsonValue]
    """The SearchSpec (docs/spec.md). `base` may be `{"recipe": NAME, "set": {PATH: VALUE}}`, its `data.url` may be `dataset:NAME`."""


class Extension(Request):
    """What a search shall do beyond what it was asked for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"trials": 32}]})

    trials: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Trials in all; at least as many as before."""
    budget: Budget | None = None
    """In place of the search's budget."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.trials is None and self.budget is None:
            raise ValueError("give trials, budget or both")
        return self


class Trial(Reply):
    """One trial: its TrialRecord, and what follows from it."""

    id: str
    number: int
    """In the order in which they were drawn, from 0."""
    state: Annotated[TrialState, or_new(TrialState)]
    values: dict[str, JsonValue]
    """The values that it trains with, by path: those drawn or, after a clone, those that it went on with."""
    first_values: dict[str, JsonValue]
    """As they were drawn."""
    reason: str
    """Why it ended, for a person."""
    results: tuple[TrialResult, ...]
    """Its evaluations, oldest first; after a clone those of the state it took come first."""
    clones: tuple[TrialClone, ...]
    """Population-based training: whose state it took over, and when."""
    images: int
    """Real images on this trial's account."""
    seconds: float
    """Wall time on this trial's account."""
    score: float | None
    """The newest smoothed score; null before the first evaluation and for a trial that diverged."""
    spread: float | None
    """Of that score: the standard deviation of the evaluations that it is the mean of."""
    stop: bool
    """Whether someone asked it to end."""


class TrialDetail(Trial):
    """One trial with what it trains."""

    spec: dict[str, Any]
    """Its resolved JobSpec."""
    checkpoint: str | None
    """Its newest complete checkpoint, relative to the search's folder."""


class Search(Run):
    """One search."""

    search: dict[str, Any]
    """The resolved SearchSpec."""
    best: Trial | None
    """The trial with the best score among those that neither diverged nor failed."""
    trials: dict[str, int]
    """How many are in which state."""
    images: int
    """Real images over all trials."""
