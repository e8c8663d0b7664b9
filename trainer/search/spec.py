"""The search itself: base spec, space, what is optimised, by what, and for how long."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import Field, ValidationError, model_validator

from trainer.families.table import recipes
from trainer.schema import MOST_IMAGES, MOST_SECONDS, Frozen
from trainer.search.checks import problems
from trainer.search.distributions import Distribution
from trainer.search.space import combinations
from trainer.spec import FieldError, JobSpec, SpecError, explain, with_values
from trainer.spec.errors import refuse, short
from trainer.spec.sections import HIGHER_IS_BETTER
from trainer.spec.text import read_yaml

Algorithm = Literal["random", "grid", "optuna", "asha", "asha+optuna", "pbt"]
ALGORITHMS: tuple[str, ...] = get_args(Algorithm)


Factor = Annotated[float, Field(gt=0.0, le=1000.0)]


class Budget(Frozen):
    """When the search ends before all samples have trained; what runs then is stopped and keeps its score."""

    images: int | None = Field(default=None, ge=1, le=MOST_IMAGES)
    """Real images over all trials."""
    seconds: float | None = Field(default=None, gt=0, le=MOST_SECONDS)
    """Wall time of the search, without pauses."""


class Asha(Frozen):
    """Asynchronous successive halving (Li et al. 2018, arXiv:1810.05934)."""

    grace: float = Field(default=0.125, gt=0, le=1)
    """Share of `train.images` before a trial may be stopped: the first rung."""
    reduction: float = Field(default=3.0, gt=1, le=1000)
    """At each rung the best 1/reduction go on; the next rung lies at `reduction` times its images."""


class Pbt(Frozen):
    """Population-based training (Jaderberg et al. 2017, arXiv:1711.09846)."""

    every: float = Field(default=0.2, gt=0, le=1)
    """Share of `train.images` between two looks at the population."""
    quantile: float = Field(default=0.25, gt=0, le=0.5)
    """The worst such share takes over the state of the best such share."""
    resample: float = Field(default=0.25, ge=0, le=1)
    """Probability that a taken value is drawn anew instead of perturbed."""
    factors: tuple[Factor, Factor] = (0.8, 1.25)
    """Perturbed numbers are multiplied by one of these and kept in their range."""


class SearchSpec(Frozen):
    """Everything one search is. Two searches with equal specs sample equal trials, as long as scores don't steer the sampling."""

    search_version: Literal[1] = 1
    """Version of this format."""
    name: str = Field(default="search", pattern=r"^[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?$")
    """Short name: lower-case letters, digits and hyphens."""
    base: JobSpec
    """The job whose fields are varied. In a file also `{recipe: NAME, set: {path: value}}`. Its `train.images` is the full
    length of a trial, its `resources` what one trial takes, its `publish` where the best trial's generator goes."""
    space: dict[str, Distribution] = Field(min_length=1, max_length=50)
    """Distributions by dotted path, e.g. `optimizers.G.lr: {loguniform: [1e-5, 1e-2]}`."""
    metric: str = "fid"
    """The score to optimise: one of `base.evaluation.metrics`, scored on the generator that would be published."""
    mode: Literal["min", "max"] | None = None
    """Whether low or high is good; None: as the metric is known."""
    algorithm: Algorithm = "asha+optuna"
    """`random`, `grid` (all combinations), `optuna` (TPE, which learns from scores), `asha` (random, bad trials stopped early),
    `asha+optuna`, `pbt` (a population that copies its best members while training)."""
    samples: int = Field(default=16, ge=1, le=10_000)
    """Trials; with `pbt` the size of the population. Not given, `grid` takes all its combinations. A finite space is gone
    through once, because the same values train the same nets: there are at most as many trials as it has combinations."""
    max_concurrent: int = Field(default=4, ge=1, le=1000)
    """Trials that train at once, at most; fewer if the cluster holds fewer. Not asked by `pbt`: the members of a population
    train side by side as far as the cluster has room, and take turns beyond."""
    evaluations: int = Field(default=8, ge=1, le=1000)
    """Evaluations of a full trial, evenly spaced, where `base.evaluation.every_steps` says nothing."""
    smooth: int = Field(default=2, ge=1, le=100)
    """A trial's score is the mean over its last so many evaluations, so that one lucky evaluation doesn't win."""
    budget: Budget = Budget()
    """Limits beside `samples`."""
    asha: Asha = Asha()
    """Of `asha` and `asha+optuna`."""
    pbt: Pbt = Pbt()
    """Of `pbt`."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Of the sampling. The trainings' own seed is `base.train.seed`."""

    @model_validator(mode="after")
    def _consistent(self) -> SearchSpec:
        if found := list(problems(self)):
            refuse(found)
        count = self.combinations
        if count is not None and self.algorithm != "pbt":
            whole = self.algorithm == "grid" and "samples" not in self.model_fields_set
            object.__setattr__(self, "samples", count if whole else min(self.samples, count))
            self.model_fields_set.add("samples")
        return self

    def digest(self) -> str:
        """SHA-256 of the resolved search as canonical JSON, in hex."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def combinations(self) -> int | None:
        """How many different samples the space has; None if it isn't finite, or has more than any search takes."""
        return combinations(self.base, self.space)

    @property
    def extent(self) -> str:
        """How much of the space is searched, for a person: `3 trials, all combinations`."""
        count, trials = self.combinations, f"{self.samples} trial{'s' if self.samples != 1 else ''}"
        if count is None or self.algorithm == "pbt":
            return trials
        if self.samples == count:
            return f"{trials}, {'all combinations' if count > 1 else 'the only combination'}"
        left = count - self.samples
        which = "the last" if self.algorithm == "grid" else "by chance"
        return f"{trials} of {count:,} combinations; {which} {left:,} {'is' if left == 1 else 'are'} left out (samples: {count} takes all)"

    @property
    def minimises(self) -> bool:
        """Whether a low metric is good."""
        return self.mode == "min" if self.mode else self.metric not in HIGHER_IS_BETTER

    @property
    def scheduler(self) -> Literal["none", "asha", "pbt"]:
        """Who stops or changes trials while they train."""
        return "pbt" if self.algorithm == "pbt" else "asha" if self.algorithm.startswith("asha") else "none"

    @property
    def sampler(self) -> Literal["random", "grid", "tpe"]:
        """Who draws the values."""
        if self.algorithm == "grid":
            return "grid"
        return "tpe" if self.algorithm.endswith("optuna") else "random"


def parse_search(raw: object) -> SearchSpec:
    """Validate a raw mapping; `base` may be `{recipe: NAME, set: {path: value}}`. Raises SpecError that lists every wrong field."""
    if isinstance(raw, dict) and isinstance(raw.get("base"), dict) and "recipe" in raw["base"]:
        raw = {**raw, "base": _from_recipe(raw["base"])}
    elif isinstance(raw, dict) and isinstance(raw.get("base"), str):
        raw = {**raw, "base": _from_recipe({"recipe": raw["base"]})}
    try:
        return SearchSpec.model_validate(raw)
    except ValidationError as error:
        found = explain(error, SearchSpec)
        known = {wrong.path for wrong in found}
        raise SpecError([*found, *(wrong for wrong in _beside(raw) if wrong.path not in known)]) from error


def _beside(raw: object) -> list[FieldError]:
    """What else is wrong with a search of which some field is: paths of the space and the metric, if the base is a spec."""
    try:
        given = {name: value for name, value in dict(raw).items() if name in ("base", "space", "metric")}  # type: ignore[call-overload]
        SearchSpec.model_validate(given)
    except ValidationError as error:
        return [found for found in explain(error, SearchSpec) if found.path.partition(".")[0] in ("space", "metric")]
    except (TypeError, ValueError):
        pass
    return []


def load_search(path: Path | str) -> SearchSpec:
    """Read a YAML or JSON file. Raises SpecError, or OSError if it can't be read."""
    try:
        raw = read_yaml(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError([FieldError(path="", message=f"{path} is not valid YAML: {error}")]) from error
    if not isinstance(raw, dict):
        raise SpecError([FieldError(path="", message=f"{path} holds no mapping", fix="it needs base and space")])
    return parse_search(raw)


def _from_recipe(given: dict[str, Any]) -> dict[str, Any]:
    """The recipe's spec with its changes. Raises SpecError with paths below `base`."""
    name, changes = given.get("recipe"), given.get("set", {})
    if unknown := given.keys() - {"recipe", "set"}:
        raise SpecError(
            [FieldError(path=f"base.{min(unknown)}", message="unknown field", fix="give recipe and set alone")]
        )
    make = recipes().get(str(name))
    if make is None:
        raise SpecError(
            [
                FieldError(
                    path="base.recipe",
                    message="no such recipe",
                    value=short(name),
                    fix=f"one of {', '.join(recipes())}",
                )
            ]
        )
    if not isinstance(changes, dict):
        raise SpecError([FieldError(path="base.set", message="is no mapping of path to value", value=short(changes))])
    try:
        spec = with_values(make(), changes.items())
    except SpecError as error:
        raise SpecError([found.model_copy(update={"path": f"base.{found.path}"}) for found in error.errors]) from error
    return spec.model_dump(mode="json")
