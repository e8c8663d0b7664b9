"""The job spec itself: sections, the checks across them, versions and migrations, digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import Field, model_validator

from trainer.families.arch import Arch
from trainer.families.table import arch_classes
from trainer.schema import Frozen
from trainer.spec.about import Labels, Notes
from trainer.spec.checks import problems
from trainer.spec.data import Data
from trainer.spec.errors import FieldError, refuse, short
from trainer.spec.limits import Limits
from trainer.spec.optim import Optimizer
from trainer.spec.queue import Queue
from trainer.spec.sections import (
    Checkpointing,
    Ema,
    Evaluation,
    Objective,
    Publish,
    Resources,
    Retry,
    Samples,
    Train,
)
from trainer.spec.sentinel import Sentinel

SPEC_VERSION = 1

if TYPE_CHECKING:
    AnyArch = Arch
else:
    AnyArch = Annotated[Union[arch_classes()], Field(discriminator="family")]  # noqa: UP007 — built at run time

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Version v → pure function that turns a raw spec of version v into one of v + 1 (the version itself is set for it)."""


class JobSpec(Frozen):
    """Everything one training is. Two jobs with equal specs and equal data train equal models."""

    spec_version: Literal[1] = 1
    """Version of this format; older specs are migrated when they are read."""
    name: str = Field(default="job", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    """Short name: lower-case letters, digits and hyphens."""
    labels: Labels = Field(default_factory=dict)
    """What lists can be filtered by, e.g. `{team: vision, purpose: ablation}`; 32 at most. They change nothing of the training."""
    notes: Notes = ""
    """Whatever is worth knowing about the job; text of several lines."""
    arch: AnyArch
    """The family (`arch.family`) and its architecture."""
    data: Data = Data()
    """Which images, and in which order."""
    objective: Objective = Objective()
    """The adversarial loss, its penalties, and how often D steps."""
    optimizers: dict[str, Optimizer]
    """One optimiser for each of the family's players (G, D, …)."""
    ema: Ema | None = Ema()
    """Average of G's weights; null trains without, and G itself is sampled and published."""
    train: Train = Train()
    """How long, how much at once, how precisely."""
    checkpoint: Checkpointing = Checkpointing()
    """When the state is saved and what is kept."""
    samples: Samples = Samples()
    """Sample grids from a fixed latent."""
    evaluation: Evaluation = Evaluation()
    """Scores against the training images."""
    sentinel: Sentinel | None = Sentinel()
    """What happens when the training collapses; null looks for nothing."""
    resources: Resources = Resources()
    """What the job takes of the cluster."""
    queue: Queue = Queue()
    """Its turn among those that wait for the cluster."""
    limits: Limits = Limits()
    """When the job ends though its work isn't done, with a checkpoint."""
    retry: Retry = Retry()
    """What happens after failures that are not the job's own fault."""
    publish: Publish | None = None
    """Registers the finished generator; null registers nothing."""

    @model_validator(mode="before")
    @classmethod
    def _migrate(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        version = raw.get("spec_version", SPEC_VERSION)
        while isinstance(version, int) and version < SPEC_VERSION and version in MIGRATIONS:
            raw = {**MIGRATIONS[version](deepcopy(raw)), "spec_version": version + 1}
            version += 1
        if version != SPEC_VERSION:
            newest = f"this program reads {min(MIGRATIONS, default=SPEC_VERSION)} to {SPEC_VERSION}"
            fix = f"{newest}; upgrade it, or write the spec anew from a recipe"
            refuse([FieldError(path="spec_version", message="is not known", value=short(version), fix=fix)])
        return raw

    @model_validator(mode="after")
    def _consistent(self) -> JobSpec:
        if found := list(problems(self)):
            refuse(found)
        return self

    def world_sizes(self) -> tuple[int, ...]:
        """Worker counts that the job may run with, ascending: those in its elastic range that divide `data.lanes`."""
        most = self.resources.workers
        least = self.resources.min_workers or most
        return tuple(workers for workers in range(least, most + 1) if self.data.lanes % workers == 0)

    def local_batch(self, workers: int) -> int:
        """Images of one global batch on each of `workers` workers. Raises ValueError if lanes don't divide evenly."""
        if self.data.lanes % workers:
            raise ValueError(f"{workers} workers don't divide {self.data.lanes} lanes")
        return self.train.batch // workers

    def canonical(self) -> str:
        """The resolved spec as canonical JSON: sorted keys, no spaces."""
        return canonical(self.model_dump(mode="json"))

    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in hex."""
        return digest_of(self.model_dump(mode="json"))


def canonical(raw: Mapping[str, Any]) -> str:
    """A resolved spec, of a job or a search, as canonical JSON: sorted keys, no spaces."""
    return json.dumps(raw, sort_keys=True, separators=(",", ":"))


def digest_of(raw: Mapping[str, Any]) -> str:
    """SHA-256 of that, in hex."""
    return hashlib.sha256(canonical(raw).encode()).hexdigest()
