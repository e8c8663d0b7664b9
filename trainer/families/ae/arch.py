"""Architecture of the autoencoder, and what the VAE shares of it. Torch-free."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from trainer.families.arch import Arch, Latent, Resolution
from trainer.schema import MOST_UNITS


class AutoencoderArch(Arch):
    """An encoder E and a decoder G of fully connected layers, trained together and without a D."""

    players: ClassVar[tuple[str, ...]] = ("G", "E")
    pixel_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    label_use: ClassVar[Literal["optional", "required", "none"]] = "none"
    adversarial: ClassVar[bool] = False
    encoder: ClassVar[bool] = True

    resolution: Resolution = 28
    """Height and width in pixels: a power of two from 8 to 128, or 28."""
    channels: Literal[1, 3] = 1
    """1 for grey, 3 for RGB."""

    @field_validator("latent")
    @classmethod
    def _without_codes(cls, latent: Latent) -> Latent:
        if latent.codes:
            raise ValueError("has codes, which an autoencoder does not know; use a latent without")
        return latent


class AeArch(AutoencoderArch):
    """The autoencoder of BiGAN's permutation-invariant table: two hidden layers in each net (Donahue et al. 2017)."""

    family: Literal["ae"] = "ae"
    latent: Latent = Latent(dim=50)
    """Codes, and what is drawn in their place. E's codes have this prior's mean and variance in every dimension, but
    not its shape: images of drawn codes show what the decoder makes of points between the codes it knows."""
    g_hidden: int = Field(default=1024, ge=8, le=MOST_UNITS)
    """Units of each of G's two hidden layers."""
    e_hidden: int = Field(default=1024, ge=8, le=MOST_UNITS)
    """Units of each of E's two hidden layers."""
    reconstruction: Literal["l2", "l1", "bce"] = "l2"
    """What is minimised, summed over pixels in [0, 1]: squared error, absolute error, or Bernoulli cross-entropy."""


ARCH = AeArch
