"""Architecture of Goodfellow's MLP GAN. Torch-free."""

from __future__ import annotations

from math import sqrt
from typing import ClassVar, Literal

from pydantic import Field

from trainer.families.arch import Arch, Latent, Resolution
from trainer.schema import MOST_UNITS

ROOT3 = sqrt(3.0)


class GanArch(Arch):
    """G: two ReLU layers and a sigmoid. D: two maxout layers with dropout (Goodfellow et al. 2014, authors' code)."""

    pixel_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    family: Literal["gan"] = "gan"
    resolution: Resolution = 28
    """Height and width in pixels: a power of two from 8 to 128, or 28."""
    channels: Literal[1, 3] = 1
    """1 for grey, 3 for RGB."""
    latent: Latent = Latent(dim=100, distribution="uniform", low=-ROOT3, high=ROOT3)
    """The prior of z; the authors' has mean 0 and variance 1."""
    g_hidden: int = Field(default=1200, ge=8, le=MOST_UNITS)
    """Units of each of G's two hidden layers."""
    d_hidden: int = Field(default=240, ge=8, le=MOST_UNITS)
    """Maxout units of each of D's two hidden layers."""
    maxout_pieces: int = Field(default=5, ge=2, le=256)
    """Linear pieces that each maxout unit takes the largest of."""
    input_dropout: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Share of D's inputs dropped."""
    hidden_dropout: float = Field(default=0.5, ge=0.0, lt=1.0)
    """Share of D's hidden units dropped."""
    mean_start: bool = True
    """Whether training starts from the mean image: the bias of G's output is the logit of each pixel's mean; else 0."""


ARCH = GanArch
