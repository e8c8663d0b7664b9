"""What the API answers, as the client sees it. Fields that a newer server adds are kept in `model_extra`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

State = Literal["submitted", "queued", "starting", "running", "stopping", "succeeded", "failed", "cancelled"]
TERMINAL: tuple[State, ...] = ("succeeded", "failed", "cancelled")
T = TypeVar("T")


class Reply(BaseModel):
    """Base: immutable, and tolerant of what is new."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True, protected_namespaces=())


class Page(Reply, Generic[T]):
    """One page of a list."""

    items: tuple[T, ...]
    next_cursor: str | None = None
    """Give it as `cursor` to get the next page; None: this is the last."""


class Progress(Reply):
    """How far a job is."""

    step: int = 0
    images: int = 0
    total_images: int | None = None
    images_per_second: float | None = None
    eta_seconds: float | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    scores: dict[str, float] = Field(default_factory=dict)

    @property
    def share(self) -> float:
        """Done, in [0, 1]."""
        return min(1.0, self.images / self.total_images) if self.total_images else 0.0


class Failure(Reply):
    """Why a job failed."""

    kind: str
    reason: str


class JobModel(Reply):
    """The version that a job registered."""

    name: str
    version: str
    champion: bool
    """Whether alias `champion` moved to it."""
    verdict: str = ""
    """Why it did or didn't."""


class Job(Reply):
    """One training."""

    id: str
    name: str
    state: State
    desired: Literal["run", "stop"]
    attempt: int
    reason: str | None = None
    """What a job that does not run yet waits for."""
    failure: Failure | None = None
    spec: dict[str, Any]
    spec_digest: str
    progress: Progress | None = None
    mlflow_run_id: str | None = None
    model: JobModel | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in TERMINAL


class Event(Reply):
    """One event of a job: `state` (data: the new state), or a kind of `trainer.wire.EventKind`."""

    id: str
    """What `events(after=…)` takes to go on behind it."""
    kind: str
    data: dict[str, Any] = Field(default_factory=dict)
    step: int = 0
    images: int = 0
    time: datetime | None = None


class RecipeSummary(Reply):
    """One recipe in the list."""

    name: str
    description: str


class Recipe(Reply):
    """A recipe and the full spec that it stands for."""

    name: str
    description: str = ""
    spec: dict[str, Any]


class Dataset(Reply):
    """A registered dataset."""

    name: str
    url: str


class DatasetCheck(Reply):
    """Whether every shard is there and unaltered."""


class Model(Reply):
    """A registered model."""

    name: str


class ModelVersion(Reply):
    """A version of a registered model."""

    version: str


class Cluster(Reply):
    """What the Ray cluster has."""

    reachable: bool
