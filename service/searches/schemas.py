"""Bodies of the searches' endpoints, as docs/interfaces.md promises them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from service.db.tables import Job, Trial
from service.jobs.lifecycle import State
from service.jobs.schemas import Failure, Progress, Published
from service.searches.trials import Standing
from trainer.search import Budget, Clone, Result, TrialRecord, TrialState

EXAMPLE: dict[str, JsonValue] = {
    "name": "digits-lr",
    "base": {"recipe": "dcgan-digits", "set": {"train.images": 100_000}},
    "space": {"optimizers.G.lr": {"loguniform": [1e-5, 1e-2], "also": ["optimizers.D.lr"]}},
    "algorithm": "asha+optuna",
    "samples": 16,
}


class SearchRequest(BaseModel):
    """A search to start."""

    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, json_schema_extra={"examples": [{"search": EXAMPLE}]}
    )

    search: dict[str, JsonValue]
    """The SearchSpec (docs/spec.md). `base` may be `{"recipe": NAME, "set": {PATH: VALUE}}`, its `data.url` may be `dataset:NAME`."""


class Extension(BaseModel):
    """What a search shall do beyond what it was asked for."""

    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, json_schema_extra={"examples": [{"samples": 32}]}
    )

    samples: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Trials in all; at least as many as before."""
    budget: Budget | None = None
    """In place of the search's budget."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.samples is None and self.budget is None:
            raise ValueError("give samples, budget or both")
        return self


class TrialReply(BaseModel):
    """One trial: its TrialRecord, and what follows from it."""

    model_config = ConfigDict(use_attribute_docstrings=True, from_attributes=True)

    id: str
    number: int
    """In order of sampling, from 0."""
    state: TrialState
    values: dict[str, JsonValue]
    """The values that it trains with, by path: those sampled or, after a clone, those that it went on with."""
    first_values: dict[str, JsonValue]
    """As they were sampled."""
    reason: str
    """Why it ended, for a person."""
    results: tuple[Result, ...]
    """Its evaluations, oldest first; after a clone those of the state it took come first."""
    clones: tuple[Clone, ...]
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

    @classmethod
    def of(cls, row: Trial) -> TrialReply:
        """From its row."""
        return cls(**shown(row))


def shown(row: Trial) -> dict[str, Any]:
    """What all replies about a trial have."""
    record = TrialRecord.model_validate(row.record)
    values = {"values": record.current, "first_values": record.values}
    return {**dict(record), **values, "score": record.score, "spread": record.spread, "stop": row.stop}


class TrialDetail(TrialReply):
    """One trial with what it trains."""

    spec: dict[str, Any]
    """Its resolved JobSpec."""
    checkpoint: str | None
    """Its newest complete checkpoint, relative to the search's folder."""


class SearchReply(BaseModel):
    """One search."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    name: str
    state: State
    desired: Literal["run", "stop", "pause"]
    attempt: int
    """Submissions of its driver to the cluster so far."""
    reason: str
    """Why it is in this state, for a person: what it waits for, why it ended."""
    failure: Failure | None
    search: dict[str, Any]
    """The resolved SearchSpec."""
    spec_digest: str
    progress: Progress | None
    mlflow_run_id: str | None
    model: Published | None
    """The version that its best trial's generator became."""
    best: TrialReply | None
    """The trial with the best score among those that neither diverged nor failed."""
    trials: dict[str, int]
    """How many are in which state."""
    images: int
    """Real images over all trials."""
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Job, standing: Standing) -> SearchReply:
        """From its row and its trials."""
        own = {
            name: getattr(job, name) for name in cls.model_fields if name not in ("search", "best", "trials", "images")
        }
        best = TrialReply.of(standing.best) if standing.best is not None else None
        return cls(**own, search=job.spec, best=best, trials=dict(standing.states), images=standing.images)
