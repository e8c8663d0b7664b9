"""Bodies of the jobs' endpoints, as docs/interfaces.md promises them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, JsonValue, Tag, model_validator

from service.bodies.base import Reply, Request
from service.bodies.forks import Fork, From
from service.bodies.runs import Run


class JobRequest(Request):
    """A full spec, or a recipe, a checkpoint or a trial of a search with overrides."""

    model_config = ConfigDict(
        serialize_by_alias=True,
        json_schema_extra={
            "examples": [
                {"recipe": "dcgan-digits", "set": {"train.images": 50000, "resources": {"workers": 2}}},
                {"trial": "s-0123456789ab/t-00003", "from": "checkpoint", "set": {"train.images": 2000000}},
                {"from": {"job": "j-0123456789ab", "checkpoint": "best"}, "set": {"train.images": 2000000}},
                {
                    "from": {"job": "j-0123456789ab", "checkpoint": 1500, "mode": "weights"},
                    "set": {"data.url": "dataset:photos", "optimizers.G.lr": 0.0001},
                },
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
    from_: Annotated[
        Annotated[Literal["checkpoint", "scratch"], Tag("(word)")] | Annotated[From, Tag("(checkpoint)")],
        Discriminator(lambda given: "(word)" if isinstance(given, str) else "(checkpoint)"),
        Field(alias="from"),
    ] = "checkpoint"
    """The checkpoint that the job begins with. A word goes with `trial`: `checkpoint` is the same as
    `{"trial": …}` here; with `scratch` that trial's spec starts over."""
    set: dict[str, JsonValue] = Field(default_factory=dict, max_length=200)
    """Overrides of the recipe, the trial, or the spec of the checkpoint's job, by dotted path. A nested mapping means the same:
    `{"train": {"images": 5000}}` changes that field alone."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        begun = self.from_ if isinstance(self.from_, From) else None
        if sum(given is not None for given in (self.spec, self.recipe, self.trial, begun)) != 1:
            raise ValueError("give one of spec, recipe, trial and from (a checkpoint)")
        if self.spec is not None and self.set:
            raise ValueError("set goes with a recipe, a trial or a checkpoint; change the spec itself instead")
        if self.trial is None and begun is None and "from_" in self.model_fields_set:
            raise ValueError('from goes with a trial, or names a checkpoint itself: {"job": ID}')
        return self

    @property
    def begun(self) -> From | None:
        """Whose checkpoint the job begins with, however it is said; None: it begins afresh."""
        if isinstance(self.from_, From):
            return self.from_
        return From(trial=self.trial) if self.trial is not None and self.from_ == "checkpoint" else None


class PlanRequest(JobRequest):
    """A job as `POST /v1/jobs` takes it, and what it is to be planned for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"recipe": "dcgan-digits", "gpus": 8, "gpu": "h100"}, {"recipe": "dcgan-digits"}]
        }
    )

    gpus: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Workers, one device each; null: `resources.workers`."""
    gpu: Annotated[str, Field(max_length=20)] | None = None
    """A device's name (h100, h200, a100-40, a100-80, v100, v100-32, l4, rtx4090, cpu); null: what the cluster has, as far as it is
    known, else h100 for GPU workers and a CPU of unknown memory for others."""


class Job(Run):
    """One training."""

    spec: dict[str, Any]
    """The resolved spec."""
    trial: str | None
    """The trial of a search, as `SEARCH/TRIAL`, that it goes on with."""
    parent: str | None = None
    """The job that it goes on with, or the trial's search."""
    fork: Fork | None = None
    """The checkpoint that it began with; null: it began afresh."""


class RecipeSummary(Reply):
    """One recipe in the list."""

    name: str
    family: str
    description: str


class Recipe(RecipeSummary):
    """A recipe and the full spec that it stands for."""

    spec: dict[str, Any]
