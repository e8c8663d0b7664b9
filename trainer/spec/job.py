"""The job spec itself: sections, the checks across them, versions and migrations, digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import Field, model_validator

from trainer.families.arch import Arch
from trainer.families.table import arch_classes
from trainer.schema import Frozen
from trainer.spec.errors import reject
from trainer.spec.optim import Optimizer
from trainer.spec.sections import (
    Checkpointing,
    Data,
    Ema,
    Evaluation,
    Objective,
    Publish,
    Resources,
    Retry,
    Samples,
    Train,
)

SPEC_VERSION = 1

if TYPE_CHECKING:
    AnyArch = Arch
else:
    AnyArch = Annotated[Union[arch_classes()], Field(discriminator="family")]  # noqa: UP007 — built at run time

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Version v → function that turns a raw spec of version v into one of v + 1."""


class JobSpec(Frozen):
    """Everything one training is. Two jobs with equal specs and equal data train equal models."""

    spec_version: Literal[1] = 1
    """Version of this format; older specs are migrated when they are read."""
    name: str = Field(default="job", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    """Short name: lower-case letters, digits and hyphens."""
    arch: AnyArch
    """The family (`arch.family`) and its architecture."""
    data: Data = Data()
    objective: Objective = Objective()
    optimizers: dict[str, Optimizer]
    """One optimiser for each of the family's players (G, D, …)."""
    ema: Ema | None = Ema()
    train: Train = Train()
    checkpoint: Checkpointing = Checkpointing()
    samples: Samples = Samples()
    evaluation: Evaluation = Evaluation()
    resources: Resources = Resources()
    retry: Retry = Retry()
    publish: Publish | None = None

    @model_validator(mode="before")
    @classmethod
    def _migrate(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        version = raw.get("spec_version", SPEC_VERSION)
        while isinstance(version, int) and version in MIGRATIONS:
            raw = MIGRATIONS[version](raw)
            version = raw["spec_version"]
        return raw

    @model_validator(mode="after")
    def _consistent(self) -> JobSpec:
        self._check_players()
        self._check_batch()
        self._check_data()
        if self.publish and self.publish.metric not in self.evaluation.metrics:
            reject("publish.metric", self.publish.metric, "is not evaluated", "add it to evaluation.metrics")
        return self

    def _check_players(self) -> None:
        players = set(self.arch.players)
        if missing := players - set(self.optimizers):
            name = sorted(missing)[0]
            reject(
                f"optimizers.{name}",
                None,
                "is missing",
                f"family {self.arch.family} trains {', '.join(sorted(players))}",
            )
        if extra := set(self.optimizers) - players:
            name = sorted(extra)[0]
            reject(
                f"optimizers.{name}",
                name,
                f"is no player of family {self.arch.family}",
                f"players: {', '.join(sorted(players))}",
            )

    def _check_batch(self) -> None:
        batch, lanes, workers = self.train.batch, self.data.lanes, self.resources.workers
        if batch % lanes:
            reject("train.batch", batch, f"is not divisible by data.lanes ({lanes})", f"use a multiple of {lanes}")
        if lanes % workers:
            reject(
                "resources.workers",
                workers,
                f"does not divide data.lanes ({lanes})",
                "use a divisor, or raise data.lanes",
            )
        if self.train.micro_batch and (batch // workers) % self.train.micro_batch:
            reject(
                "train.micro_batch",
                self.train.micro_batch,
                f"does not divide a worker's share ({batch // workers})",
                "use a divisor of it",
            )
        smallest = self.resources.min_workers
        if smallest and smallest > workers:
            reject("resources.min_workers", smallest, f"is more than resources.workers ({workers})", "lower it")

    def _check_data(self) -> None:
        if self.data.url != "builtin:digits":
            return
        if self.arch.channels != 1:
            reject("arch.channels", self.arch.channels, "does not fit builtin:digits, which is grey", "use 1")
        if self.arch.classes not in (0, 10):
            reject(
                "arch.classes",
                self.arch.classes,
                "does not fit builtin:digits, which has 10 classes",
                "use 10, or 0 for no labels",
            )

    def local_batch(self, workers: int) -> int:
        """Images of one global batch on each of `workers` workers. Raises ValueError if lanes don't divide evenly."""
        if self.data.lanes % workers:
            raise ValueError(f"{workers} workers don't divide {self.data.lanes} lanes")
        return self.train.batch // workers

    def canonical(self) -> str:
        """The resolved spec as canonical JSON: sorted keys, no spaces."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in hex."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()
