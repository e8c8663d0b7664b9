"""Architecture of BiGAN's permutation-invariant nets. Torch-free."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from trainer.families.arch import Arch, Latent, Resolution
from trainer.schema import MOST_UNITS, MOST_WEIGHT


class BiganArch(Arch):
    """G, E and D of two hidden layers each (Donahue et al. 2017, section 4.1 and appendix C.1)."""

    players: ClassVar[tuple[str, ...]] = ("G", "E", "D")
    pixel_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    label_use: ClassVar[Literal["optional", "required", "none"]] = "none"
    encoder: ClassVar[bool] = True

    family: Literal["bigan"] = "bigan"
    resolution: Resolution = 28
    """Height and width in pixels: a power of two from 8 to 128, or 28."""
    channels: Literal[1, 3] = 1
    """1 for grey, 3 for RGB."""
    latent: Latent = Latent(dim=50, distribution="uniform", low=-1.0, high=1.0)
    """The prior of z. E's codes lie in the range of a uniform one; of a normal one they may be any number."""
    g_hidden: int = Field(default=1024, ge=8, le=MOST_UNITS)
    """Units of each of G's two hidden layers."""
    e_hidden: int = Field(default=1024, ge=8, le=MOST_UNITS)
    """Units of each of E's two hidden layers."""
    d_hidden: int = Field(default=1024, ge=8, le=MOST_UNITS)
    """Units of each of D's two hidden layers."""
    encoder_training: Literal["bigan", "latent-regressor", "joint-latent-regressor"] = "bigan"
    """What trains E. `bigan`: D judges pairs (x, E(x)) and (G(z), z), and G and E step against it together. The paper's
    baselines have a D of images alone: `latent-regressor` fits E(G(z)) to z beside the GAN; `joint-latent-regressor`
    adds that to G's loss as well."""
    regressor_weight: float = Field(default=0.25, gt=0.0, le=MOST_WEIGHT)
    """Weight of the regression of z in the loss that G and E share in `joint-latent-regressor`."""

    @property
    def d_batch_statistics(self) -> bool:
        """D has batch norm."""
        return True

    @field_validator("latent")
    @classmethod
    def _without_codes(cls, latent: Latent) -> Latent:
        if latent.codes:
            raise ValueError("has codes, which this family does not know; use a latent without")
        return latent


ARCH = BiganArch
