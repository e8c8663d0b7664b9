"""What jobs and searches have in common."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from service.bodies.base import Reply, Tagged, or_new
from service.bodies.states import State
from service.bodies.waiting import Waiting
from trainer.wire import FailureKind

TERMINAL: tuple[State, ...] = tuple(state for state in State if state.ended)


class Progress(Reply):
    """How far a run is."""

    step: int = 0
    """Updates of the generator done."""
    images: int = 0
    """Real images shown."""
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
    """Why a run failed."""

    kind: Annotated[FailureKind, or_new(FailureKind)]
    reason: str
    rank: int | None = None
    """Of the worker that failed, if one did: its log says more (`/logs?rank=`)."""


class JobModel(Reply):
    """The model version that a run registered; a search registers its best trial's generator."""

    name: str
    version: str
    champion: bool
    """Whether the alias `champion` moved to it."""
    verdict: str
    """Why it did or didn't."""


class Usage(Reply):
    """What a run has used, all attempts together."""

    queue_seconds: float = 0.0
    """In the queue, of waits that are over."""
    run_seconds: float = 0.0
    """On the cluster: from when Ray took its driver until that is gone, without waits for what it needs."""
    cpu_seconds: float = 0.0
    """CPUs of its workers times seconds on the cluster."""
    accelerator_seconds: float = 0.0
    """GPUs of its workers times seconds on the cluster."""
    planned_cpu_seconds: float | None = None
    """What it will have used in the end, as far as that was known when it was submitted or edited; null: nothing was known."""
    planned_accelerator_seconds: float | None = None
    planned_by: str = ""
    """What that rests on. `plan`: a plan of it. `runs`: how long runs like it took. `limit`: no more than its limits allow."""


class Run(Tagged):
    """A job or a search."""

    id: str
    name: str
    owner: str = ""
    """The person whose it is."""
    labels: dict[str, str] = Field(default_factory=dict)
    """As its spec has them; lists are filtered by them."""
    notes: str = ""
    """What someone wrote about it."""
    state: Annotated[State, or_new(State)]
    desired: Literal["run", "stop", "pause"]
    attempt: int
    """Submissions of its driver to the cluster so far."""
    reason: str
    """Why it is in this state, for a person: what it waits for, why it ended."""
    waiting: Waiting | None = None
    """What it waits for, when it will start, and what would start it sooner; null: it doesn't wait."""
    queued_at: datetime | None = None
    """Since when it waits in the queue; null: it doesn't."""
    limit: str | None = None
    """The limit of its spec that ends it, or has: `wait`, `run`, … (docs/limits.md); null: none."""
    ends_at: datetime | None = None
    """When the first of its limits ends it, if nothing changes; null: none does."""
    next_try_at: datetime | None = None
    """When its next attempt may start, or is handed to Ray again; null: it waits for no such time."""
    stop_at: datetime | None = None
    """Of one that is stopping: when Ray stops it, if it hasn't ended by itself."""
    usage: Usage = Usage()
    """What it has used so far."""
    trace: str | None = None
    """Id of the trace that its submission is a part of, and all that it leads to (docs/tracing.md)."""
    failure: Failure | None
    spec_digest: str
    priority: int = 50
    """Of its spec's `queue`: who waits with a higher one starts sooner (docs/queue.md)."""
    preemptible: bool = False
    """Of its spec's `queue`: whether it may be paused for one of a higher priority."""
    progress: Progress | None
    mlflow_run_id: str | None
    model: JobModel | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more, unless someone has it go on."""
        return self.state in TERMINAL
