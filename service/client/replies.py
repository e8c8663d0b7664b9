"""What the API answers, as the client sees it. Fields that a newer server adds are kept in `model_extra`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field

State = Literal["submitted", "queued", "starting", "running", "stopping", "paused", "succeeded", "failed", "cancelled"]
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
    metrics: dict[str, Any] = Field(default_factory=dict)
    scores: dict[str, Any] = Field(default_factory=dict)

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
    verdict: str
    """Why it did or didn't."""


class Run(Reply):
    """What jobs and searches have in common."""

    id: str
    name: str
    state: State
    desired: Literal["run", "stop", "pause"]
    attempt: int
    reason: str
    """Why it is in this state: what it waits for, why it ended."""
    failure: Failure | None = None
    spec_digest: str
    progress: Progress | None = None
    mlflow_run_id: str | None = None
    model: JobModel | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more, unless someone extends it."""
        return self.state in TERMINAL


class Job(Run):
    """One training."""

    spec: dict[str, Any]
    trial: str | None = None
    """`SEARCH/TRIAL` that it goes on with."""


class TrialResult(Reply):
    """One evaluation of a trial."""

    step: int
    images: int
    value: float
    score: float
    """Mean over the last evaluations: what trials are compared by."""
    spread: float
    """Standard deviation over these."""
    seconds: float


class TrialClone(Reply):
    """Population-based training: the trial took over another one's state."""

    source: str
    step: int
    images: int
    values: dict[str, Any]


class Trial(Reply):
    """One trial of a search."""

    id: str
    number: int
    state: str
    """pending, running, paused, stopped, completed, diverged or failed."""
    values: dict[str, Any]
    """The values that it trains with, by path: those sampled or, after a clone, those that it went on with."""
    first_values: dict[str, Any] = Field(default_factory=dict)
    """As they were sampled."""
    reason: str = ""
    results: tuple[TrialResult, ...] = ()
    clones: tuple[TrialClone, ...] = ()
    images: int = 0
    seconds: float = 0.0
    score: float | None = None
    spread: float | None = None
    stop: bool = False
    """Whether someone asked it to end."""


class TrialDetail(Trial):
    """One trial with what it trains."""

    spec: dict[str, Any]
    checkpoint: str | None = None
    """Its newest complete checkpoint, relative to the search's folder."""


class Search(Run):
    """One search."""

    search: dict[str, Any]
    """The resolved SearchSpec."""
    best: Trial | None = None
    trials: dict[str, int] = Field(default_factory=dict)
    """How many are in which state."""
    images: int = 0
    """Over all trials."""


class Event(Reply):
    """One event of a job or search: `state` (data: the new state), or a kind of `trainer.wire.EventKind`."""

    id: str
    """What `events(after=…)` takes to go on behind it."""
    kind: str
    data: dict[str, Any] = Field(default_factory=dict)
    attempt: int = 0
    """Of the job, that it tells of; 0 before the first."""
    step: int = 0
    images: int = 0
    time: datetime | None = None


class RecipeSummary(Reply):
    """One recipe in the list."""

    name: str
    family: str
    description: str


class Recipe(RecipeSummary):
    """A recipe and the full spec that it stands for."""

    spec: dict[str, Any]


class DatasetFacts(Reply):
    """What a dataset's manifest says, without the list of shards."""

    resolution: int
    channels: int
    classes: tuple[str, ...]
    class_counts: tuple[int, ...]
    samples: int
    shards: int
    bytes: int
    digest: str


class LogPiece(NamedTuple):
    """A part of a log."""

    text: str
    end: int
    """Bytes of the log up to the end of this part: the `offset` of the next."""


class ShardFault(Reply):
    """A shard that is not what the manifest says."""

    shard: str
    message: str


class DatasetCheck(Reply):
    """What a check of every shard found."""

    ok: bool
    checked_at: datetime
    shards: int
    bytes: int
    faults: tuple[ShardFault, ...]


class Dataset(Reply):
    """A registered dataset; jobs name it as `data.url: dataset:NAME`."""

    name: str
    url: str
    manifest: DatasetFacts
    last_check: DatasetCheck | None = None
    created_at: datetime


class Model(Reply):
    """A registered model."""

    name: str
    description: str
    aliases: dict[str, str]
    """Alias → version."""
    tags: dict[str, str]
    created_at: datetime
    updated_at: datetime


class ModelVersion(Reply):
    """A version of a registered model."""

    version: str
    status: str
    run_id: str
    source: str
    description: str
    aliases: tuple[str, ...]
    tags: dict[str, str]
    created_at: datetime


class Amount(Reply):
    """How much there is of something."""

    total: float
    free: float


class Cluster(Reply):
    """What the Ray cluster has; what is free may be some seconds old."""

    reachable: bool
    reason: str = ""
    """Why Ray can't be reached."""
    nodes: int
    cpus: Amount
    gpus: Amount
    memory: Amount
    """Bytes."""


class Token(Reply):
    """A person's token, without its secret."""

    id: str
    name: str
    scope: str
    created_at: datetime


class NewToken(Token):
    """A token that was just made."""

    token: str
    """The secret; it is told this once."""
