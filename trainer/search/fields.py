"""What a search is asked for: base spec, space, what is optimised, by what, and for how long."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainer.schema import MOST_IMAGES, MOST_SECONDS, Frozen
from trainer.search.distributions import Distribution
from trainer.spec import JobSpec
from trainer.spec.about import Labels, Notes
from trainer.spec.limits import Limits

Algorithm = Literal["random", "grid", "optuna", "asha", "asha+optuna", "pbt"]
Factor = Annotated[float, Field(gt=0.0, le=1000.0)]


class Budget(Frozen):
    """When the search ends before all trials have trained; what runs then is stopped and keeps its score."""

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


class SearchFields(Frozen):
    """A search field by field, before it is asked whether they fit together (`checks`)."""

    search_version: Literal[1] = 1
    """Version of this format."""
    name: str = Field(default="search", pattern=r"^[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?$")
    """Short name: lower-case letters, digits and hyphens."""
    labels: Labels = Field(default_factory=dict)
    """What lists of searches can be filtered by, e.g. `{team: vision}`. Those of `base` are its trials' and of jobs made from these."""
    notes: Notes = ""
    """Whatever is worth knowing about the search; text of several lines."""
    base: JobSpec
    """The job whose fields are varied. In a file also `{recipe: NAME, set: {path: value}}`. Its `train.images` is the full
    length of a trial, its `resources` what one trial takes, its `queue` the search's turn, its `publish` where the best trial's generator goes."""
    space: dict[str, Distribution] = Field(min_length=1, max_length=50)
    """Distributions by dotted path, e.g. `optimizers.G.lr: {loguniform: [1e-5, 1e-2]}`."""
    metric: str = "fid"
    """The score to optimise: one of `base.evaluation.metrics`, scored on the generator that would be published."""
    mode: Literal["min", "max"] | None = None
    """Whether low or high is good; None: as the metric is known."""
    algorithm: Algorithm = "asha+optuna"
    """`random`, `grid` (all combinations), `optuna` (TPE, which learns from scores), `asha` (random, bad trials stopped early),
    `asha+optuna`, `pbt` (a population that copies its best members while training)."""
    trials: int = Field(default=16, ge=1, le=10_000)
    """How many; with `pbt` the size of the population. Not given, `grid` takes all its combinations. A finite space is gone
    through once, because the same values train the same nets: there are at most as many trials as it has combinations."""
    max_concurrent: int = Field(default=4, ge=1, le=1000)
    """Trials that train at once, at most; fewer if the cluster holds fewer. Not asked by `pbt`: the members of a population
    train side by side as far as the cluster has room, and take turns beyond."""
    evaluations: int = Field(default=8, ge=1, le=1000)
    """Evaluations of a full trial, evenly spaced, where `base.evaluation.every_steps` says nothing."""
    smooth: int = Field(default=2, ge=1, le=100)
    """A trial's score is the mean over its last so many evaluations, so that one lucky evaluation doesn't win."""
    budget: Budget = Budget()
    """Limits beside `trials`: the search is then done, and its best trial registered."""
    limits: Limits = Limits()
    """When the search ends though it isn't done; its trials are saved, and `extend` lets it go on. `base.limits` stays empty."""
    asha: Asha = Asha()
    """Of `asha` and `asha+optuna`."""
    pbt: Pbt = Pbt()
    """Of `pbt`."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Of the draws. The trainings' own seed is `base.train.seed`."""
