"""Optimisers and their schedules. A schedule is a pure function of progress, so it has no state to save."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainer.schema import MOST_IMAGES, Frozen
from trainer.spec.errors import FieldError, refuse


class Schedule(Frozen):
    """The factor on the learning rate as a function of progress."""

    kind: Literal["constant", "linear", "geometric", "exponential"] = "constant"
    """`constant`: 1. `linear`: 1 until `start`, then a line to `final` at the end. `geometric`: the same in equal ratios.
    `exponential`: `decay` ** updates, at least `final`."""
    start: float = Field(default=0.0, ge=0.0, lt=1.0)
    """`linear`, `geometric`: share of `train.images` after which the decay begins, in [0, 1)."""
    final: float = Field(default=0.0, ge=0.0, le=1.0)
    """The smallest factor; `geometric` needs one above 0."""
    decay: float = Field(default=1.0, gt=0.0, le=1.0)
    """`exponential`: factor per update of this player, e.g. 1 / 1.000004 (Goodfellow et al. 2014)."""
    warmup_images: int = Field(default=0, ge=0, le=MOST_IMAGES)
    """Images over which the factor rises linearly from 0."""

    @model_validator(mode="after")
    def _reachable(self) -> Schedule:
        if self.kind == "geometric" and self.final == 0.0:
            message = "is 0, which a geometric schedule never reaches"
            refuse([FieldError(path="final", message=message, value="0.0", fix="give one above 0, e.g. 0.01")])
        return self

    def factor(self, images: int, total_images: int, updates: int) -> float:
        """The factor after `images` of `total_images` real images and `updates` updates of the player."""
        warm = min(1.0, images / self.warmup_images) if self.warmup_images else 1.0
        progress = min(1.0, images / total_images)
        share = max(0.0, (progress - self.start) / (1.0 - self.start))
        if self.kind == "linear":
            return warm * (1.0 + share * (self.final - 1.0))
        if self.kind == "geometric":
            return float(warm * self.final**share)
        if self.kind == "exponential":
            return float(warm * max(self.final, self.decay**updates))
        return warm


class OptimizerBase(Frozen):
    """What all optimisers share."""

    lr: float = Field(gt=0.0, le=10.0)
    """Learning rate."""
    weight_decay: float = Field(default=0.0, ge=0.0, le=10.0)
    """L2 penalty added to the gradient."""
    schedule: Schedule = Schedule()
    """How the learning rate changes over the training."""


class Adam(OptimizerBase):
    """Adam (Kingma & Ba 2015)."""

    kind: Literal["adam"] = "adam"
    lr: float = Field(default=2e-4, gt=0.0, le=10.0)
    """Learning rate."""
    beta1: float = Field(default=0.5, ge=0.0, lt=1.0)
    """Decay of the first moment."""
    beta2: float = Field(default=0.999, ge=0.0, lt=1.0)
    """Decay of the second moment."""
    eps: float = Field(default=1e-8, ge=1e-30, le=1.0)
    """Added to the root of the second moment."""


class RMSProp(OptimizerBase):
    """RMSProp (Tieleman & Hinton 2012), WGAN's optimiser."""

    kind: Literal["rmsprop"] = "rmsprop"
    lr: float = Field(default=5e-5, gt=0.0, le=10.0)
    """Learning rate."""
    alpha: float = Field(default=0.99, gt=0.0, lt=1.0)
    """Decay of the squared gradient's average."""
    eps: float = Field(default=1e-8, ge=1e-30, le=1.0)
    """Added to the root of the second moment."""


class Sgd(OptimizerBase):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    lr: float = Field(default=0.1, gt=0.0, le=10.0)
    """Learning rate."""
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Momentum, at the start of training."""
    final_momentum: float | None = Field(default=None, ge=0.0, lt=1.0)
    """Momentum reached linearly (Goodfellow et al. 2014: 0.5 → 0.7); None keeps it constant."""
    momentum_images: int | None = Field(default=None, ge=1, le=MOST_IMAGES)
    """Images shown when `final_momentum` is reached (Goodfellow et al. 2014: 250 epochs); None: at the end of training."""


Optimizer = Annotated[Adam | RMSProp | Sgd, Field(discriminator="kind")]
