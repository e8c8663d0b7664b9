"""What every family's architecture description shares. Torch-free: the control plane validates with it."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from trainer.schema import Frozen


class Latent(Frozen):
    """The prior of z."""

    dim: int = Field(default=100, ge=1, le=4096)
    """Number of latent dimensions."""
    distribution: Literal["normal", "uniform"] = "normal"
    """`normal`: N(0, 1). `uniform`: U(low, high)."""
    low: float = -1.0
    """Lower bound of the uniform prior."""
    high: float = 1.0
    """Upper bound of the uniform prior."""

    @model_validator(mode="after")
    def _ordered(self) -> Latent:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        return self


class Arch(Frozen):
    """Base of the families' `Arch` classes; each fixes `family` to a Literal and adds its own fields."""

    players: ClassVar[tuple[str, ...]] = ("G", "D")
    """The nets that train, each with its own optimiser. Keys of `JobSpec.optimizers`."""
    pixel_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    """What G's output spans: (-1, 1) for tanh, (0, 1) for sigmoid. Real images are scaled to the same."""

    family: str
    """Name in the table of families."""
    resolution: int = Field(ge=8, le=512)
    """Height and width in pixels."""
    channels: Literal[1, 3] = 3
    """1 for grey, 3 for RGB."""
    classes: int = Field(default=0, ge=0, le=100_000)
    """Number of classes the model is conditioned on; 0 for an unconditional model."""
    latent: Latent = Latent()
    """The prior of z."""

    @property
    def conditional(self) -> bool:
        """Whether G and D take a label."""
        return self.classes > 0

    @property
    def d_batch_statistics(self) -> bool:
        """Whether D's training output for one image depends on the rest of its batch (batch norm)."""
        return False
