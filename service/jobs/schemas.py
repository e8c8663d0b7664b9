"""Bodies of the jobs' endpoints, as docs/interfaces.md promises them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from service.db.tables import Job
from service.jobs.lifecycle import State
from trainer.wire import FailureKind


class JobRequest(BaseModel):
    """A full spec, or a recipe or a trial of a search with overrides."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        serialize_by_alias=True,
        json_schema_extra={
            "examples": [
                {"recipe": "dcgan-digits", "set": {"train.images": 50000, "resources": {"workers": 2}}},
                {"trial": "s-0123456789ab/t-00003", "from": "checkpoint", "set": {"train.images": 2000000}},
                {
                    "spec": {
                        "arch": {"family": "dcgan", "channels": 1},
                        "optimizers": {"G": {"kind": "adam"}, "D": {"kind": "adam"}},
                    }
                },
            ]
        },
    )

    spec: dict[str, JsonValue] | None = None
    """The whole JobSpec; `/v1/schema` has its schema. `data.url` may be `dataset:NAME` for a registered dataset."""
    recipe: Annotated[str, Field(max_length=100)] | None = None
    """Name of a recipe, from `/v1/recipes`."""
    trial: Annotated[str, Field(pattern=r"^s-[0-9a-f]{12}/t-[0-9]{5,10}$")] | None = None
    """`SEARCH/TRIAL`: trains that trial's spec for longer, by default for ten times its images."""
    from_: Annotated[Literal["checkpoint", "scratch"], Field(alias="from")] = "checkpoint"
    """With a trial: whether the job goes on with the trial's newest checkpoint or starts over."""
    set: dict[str, JsonValue] = Field(default_factory=dict, max_length=200)
    """Overrides of the recipe or the trial by dotted path. A nested mapping means the same: `{"train": {"images": 5000}}` changes that
    field alone."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if sum(given is not None for given in (self.spec, self.recipe, self.trial)) != 1:
            raise ValueError("give one of spec, recipe and trial")
        if self.spec is not None and self.set:
            raise ValueError("set goes with a recipe or a trial; change the spec itself instead")
        if self.trial is None and "from_" in self.model_fields_set:
            raise ValueError("from goes with a trial")
        return self


class Progress(BaseModel):
    """How far a job is."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    step: int = 0
    """Updates of the generator done."""
    images: int = 0
    """Real images shown."""
    total_images: int | None = None
    images_per_second: float | None = None
    eta_seconds: float | None = None
    metrics: dict[str, Any] = Field(default_factory=dict)
    scores: dict[str, Any] = Field(default_factory=dict)


class Failure(BaseModel):
    """Why a job failed."""

    kind: FailureKind
    reason: str


class Published(BaseModel):
    """The model version that a job registered."""

    name: str
    version: str
    champion: bool
    """Whether the alias `champion` moved to it."""
    verdict: str
    """Why it did or didn't."""


class JobReply(BaseModel):
    """One training."""

    model_config = ConfigDict(use_attribute_docstrings=True, from_attributes=True)

    id: str
    name: str
    state: State
    desired: Literal["run", "stop"]
    attempt: int
    """Submissions to the cluster so far."""
    reason: str
    """Why it is in this state, for a person: what it waits for, why it ended."""
    failure: Failure | None
    spec: dict[str, Any]
    """The resolved spec."""
    spec_digest: str
    progress: Progress | None
    mlflow_run_id: str | None
    model: Published | None
    trial: str | None
    """The trial of a search that it goes on with."""
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> JobReply:
        """From its row."""
        return cls.model_validate(job)
