"""Architecture of the conditional GAN. Torch-free."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from trainer.families.arch import Arch, Latent, Resolution
from trainer.schema import MOST_UNITS


class CganArch(Arch):
    """G: branches for z and y, a joint ReLU layer, a sigmoid. D: the same in maxout (Mirza & Osindero 2014, section 4.1)."""

    pixel_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    label_use: ClassVar[Literal["optional", "required", "none"]] = "required"

    family: Literal["cgan"] = "cgan"
    resolution: Resolution = 28
    """Height and width in pixels: a power of two from 8 to 128, or 28."""
    channels: Literal[1, 3] = 1
    """1 for grey, 3 for RGB."""
    classes: int = Field(default=10, ge=0, le=100_000)
    """Number of classes; this family needs some."""
    latent: Latent = Latent(dim=100, distribution="uniform", low=0.0, high=1.0)
    """The prior of z; the paper's is uniform in the unit hypercube."""
    g_z_hidden: int = Field(default=200, ge=4, le=MOST_UNITS)
    """ReLU units of G's branch for z."""
    g_y_hidden: int = Field(default=1000, ge=4, le=MOST_UNITS)
    """ReLU units of G's branch for the label."""
    g_hidden: int = Field(default=1200, ge=8, le=MOST_UNITS)
    """ReLU units of G's joint layer."""
    d_x_hidden: int = Field(default=240, ge=4, le=MOST_UNITS)
    """Maxout units of D's branch for the image."""
    d_y_hidden: int = Field(default=50, ge=4, le=MOST_UNITS)
    """Maxout units of D's branch for the label."""
    d_hidden: int = Field(default=240, ge=8, le=MOST_UNITS)
    """Maxout units of D's joint layer."""
    branch_pieces: int = Field(default=5, ge=2, le=256)
    """Linear pieces of a maxout unit in D's branches."""
    joint_pieces: int = Field(default=4, ge=2, le=256)
    """Linear pieces of a maxout unit in D's joint layer."""
    g_dropout: float = Field(default=0.5, ge=0.0, lt=1.0)
    """Share of G's hidden units dropped in training."""
    d_dropout: float = Field(default=0.5, ge=0.0, lt=1.0)
    """Share of D's hidden units dropped in training."""


ARCH = CganArch
