"""What every family's architecture description shares. Torch-free: the control plane validates with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from trainer.schema import MOST_WEIGHT, Frozen


def _power_of_two_or_28(resolution: int) -> int:
    if resolution != 28 and resolution & (resolution - 1):
        raise ValueError(f"{resolution} is not possible; use 8, 16, 28, 32, 64 or 128")
    return resolution


Resolution = Annotated[int, Field(ge=8, le=128), AfterValidator(_power_of_two_or_28)]
"""Pixels a side of nets that double from a base map of 4 or 7: a power of two from 8 to 128, or MNIST's 28."""


@dataclass(frozen=True)
class Code:
    """One latent code with a meaning of its own (Chen et al. 2016): where it lies in z, and what it can be.

    column: first column of z. size: columns it takes, which for a categorical code is the number of its values.
    """

    name: str
    kind: Literal["categorical", "continuous"]
    column: int
    size: int


class Latent(Frozen):
    """The prior of z."""

    dim: int = Field(default=100, ge=1, le=4096)
    """Number of latent dimensions."""
    distribution: Literal["normal", "uniform"] = "normal"
    """`normal`: N(0, 1). `uniform`: U(low, high)."""
    low: float = Field(default=-1.0, ge=-MOST_WEIGHT, le=MOST_WEIGHT)
    """Lower bound of the uniform prior."""
    high: float = Field(default=1.0, ge=-MOST_WEIGHT, le=MOST_WEIGHT)
    """Upper bound of the uniform prior."""

    @model_validator(mode="after")
    def _ordered(self) -> Latent:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        return self

    @property
    def codes(self) -> tuple[Code, ...]:
        """The codes behind the noise; none here."""
        return ()

    @property
    def width(self) -> int:
        """Columns of z: the noise's, and the codes'."""
        return self.dim + sum(code.size for code in self.codes)


class CodedLatent(Latent):
    """z = [noise | one-hot of each categorical code | continuous codes ~ U(-1, 1)] (Chen et al. 2016, section 3)."""

    categorical: tuple[Annotated[int, Field(ge=2, le=1000)], ...] = (10,)
    """Number of values of each categorical code; each value is as likely as the others."""
    continuous: int = Field(default=2, ge=0, le=100)
    """Number of continuous codes, each U(-1, 1)."""

    @model_validator(mode="after")
    def _coded(self) -> CodedLatent:
        if not self.categorical and not self.continuous:
            raise ValueError("has no code; give a categorical one (e.g. [10]) or a continuous one")
        return self

    @property
    def codes(self) -> tuple[Code, ...]:
        """c1, c2, … in the order of their columns: the categorical ones first, as the paper numbers them."""
        kinds = [("categorical", size) for size in self.categorical] + [("continuous", 1)] * self.continuous
        found: list[Code] = []
        column = self.dim
        for number, (kind, size) in enumerate(kinds, 1):
            found.append(Code(f"c{number}", "categorical" if kind == "categorical" else "continuous", column, size))
            column += size
        return tuple(found)


class Arch(Frozen):
    """Base of the families' `Arch` classes; each fixes `family` to a Literal and adds its own fields."""

    players: ClassVar[tuple[str, ...]] = ("G", "D")
    """The nets that train, each with its own optimiser. Keys of `JobSpec.optimizers`."""
    pixel_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    """What G's output spans: (-1, 1) for tanh, (0, 1) for sigmoid. Real images are scaled to the same."""
    label_use: ClassVar[Literal["optional", "required", "none"]] = "optional"
    """Whether the family is conditioned on labels: if `classes` says so, always, or never."""
    adversarial: ClassVar[bool] = True
    """Whether a D judges; without one `objective` has nothing to say."""
    own_loss: ClassVar[bool] = False
    """Whether the family's phases have losses of their own, which no name of `objective.loss` and no penalty describes. Its
    specs then say `objective.loss: own`, and so do the package's card and the report."""
    encoder: ClassVar[bool] = False
    """Whether a player E maps images to z."""

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
    def published(self) -> tuple[str, ...]:
        """The players whose moving averages are kept and that are published: G, and E where there is one."""
        return ("G", "E") if self.encoder else ("G",)

    @property
    def conditional(self) -> bool:
        """Whether G and D take a label."""
        return self.classes > 0

    @property
    def d_batch_statistics(self) -> bool:
        """Whether D's training output for one image depends on the rest of its batch (batch norm)."""
        return False
