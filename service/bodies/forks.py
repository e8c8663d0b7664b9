"""Forks: jobs that begin with another training's checkpoint, and who descends from whom."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator as Before
from pydantic import ConfigDict, Field, StrictInt, ValidationError, ValidatorFunctionWrapHandler, model_validator
from pydantic import WrapValidator as Wrap

from service.bodies.base import Reply, Request, or_new
from service.bodies.states import State

MOST_STEP = 10**18


def _which(value: Any, known: ValidatorFunctionWrapHandler) -> Any:
    try:
        return known(value)
    except ValidationError:
        raise ValueError('is neither "latest" nor "best" nor a step') from None


def _word(value: Any) -> Any:
    return str(value) if type(value) is int else value


Which = Annotated[
    Literal["latest", "best"] | Annotated[StrictInt, Field(ge=0, lt=MOST_STEP)], Wrap(_which), Field(examples=[1500])
]
"""One of a training's checkpoints."""


class From(Request):
    """Whose checkpoint a job begins with, which one, and what it takes of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"job": "j-0123456789ab", "checkpoint": "best"}]})

    job: Annotated[str, Field(pattern=r"^j-[a-z0-9-]{1,38}$")] | None = None
    """A job's id; or …"""
    trial: Annotated[str, Field(pattern=r"^s-[0-9a-f]{12}/t-[0-9]{5,10}$")] | None = None
    """… a trial, as `SEARCH/TRIAL`: unless `train.images` is set, the job then trains ten times as long as the trial; or …"""
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] | None = None
    """… a registered model: the checkpoint that its `version` was made of, while it is kept; or …"""
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"), Before(_word)] | None = None
    """With `model`: a version's number, or an alias; null: `champion`."""
    package: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    """… a package below a data root, such as `agon import` makes of a BigGAN-PyTorch checkpoint and `agon pull` of a version. It has
    weights alone, and D only if it was imported with it; `restart` may say that D starts anew."""
    checkpoint: Which = "latest"
    """`latest`: the newest complete one. `best`: the one with the best score. Or the step of any that is kept."""
    mode: Literal["state", "weights"] = "state"
    """`state`: the job goes on exactly as that training would have; what the training computes can't change.
    `weights`: it takes the nets and their moving averages alone; optimisers are fresh, it counts images from 0, and everything may
    change, for fine-tuning on other data or with other losses."""
    restart: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(default=(), max_length=100)
    """With `weights`: parameters that start anew instead, as `PLAYER/NAME` (`*` stands for anything: `D/head.*`) or a whole `PLAYER`;
    `changed` stands for all whose shape changes, that are new, or that the new nets don't have. Unless they are named here, a
    request with such parameters is refused with the list of them."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if sum(given is not None for given in (self.job, self.trial, self.model, self.package)) != 1:
            raise ValueError("give one of job, trial, model and package")
        if self.version is not None and self.model is None:
            raise ValueError("version goes with model")
        if "checkpoint" in self.model_fields_set and (self.model or self.package):
            raise ValueError("checkpoint goes with job or trial: a version or a package is one")
        if self.package is not None and self.mode != "weights":
            raise ValueError('a package has weights alone: "mode": "weights"')
        if self.restart and self.mode != "weights":
            raise ValueError('restart goes with "mode": "weights": a state is taken whole')
        return self


class Fork(Reply):
    """The checkpoint that a job began with."""

    mode: Literal["state", "weights"]
    """`state`: it went on with all of it. `weights`: it took the nets and their averages alone."""
    job: str | None = None
    """Whose checkpoint it was: that job's, …"""
    trial: str | None = None
    """… or that trial's, as `SEARCH/TRIAL`; null: it was a package's."""
    model: str | None = None
    """The version, as `NAME/VERSION`, by which the checkpoint was asked for."""
    package: str | None = None
    """The package that it took the weights of."""
    step: int
    """Its step."""
    images: int
    """Images that had been shown at it, as the training counted that wrote it."""
    offset: int = 0
    """Images before this job's own 0, over all that it goes back to: added to `progress.images` they join the curves of
    parent and child. 0 for `state`, whose count goes on."""
    restart: tuple[str, ...] = ()
    """What was asked to start anew."""


class Relative(Reply):
    """A run that a job goes back to, or that goes back to it."""

    id: str
    kind: Literal["job", "search"]
    name: str | None = None
    """null: it has been deleted."""
    state: Annotated[State, or_new(State)] | None = None
    parent: str | None = None
    """The run that it goes on with itself."""
    trial: str | None = None
    """The trial of a search that it goes on with."""
    fork: Fork | None = None
    """The checkpoint that it began with."""
    created_at: datetime | None = None


class Lineage(Reply):
    """Where a run comes from, and what went on with it."""

    ancestors: tuple[Relative, ...]
    """The run that it goes on with, then that one's, and so on; at most a hundred."""
    children: tuple[Relative, ...]
    """Jobs that went on with it or, if it is a search, with its trials; newest first."""
    next_cursor: str | None = None
    """Give it as `cursor` to get further children; null: these are the last."""
