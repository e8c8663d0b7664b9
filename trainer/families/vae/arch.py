"""Architecture of the variational autoencoder. Torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from trainer.families.ae.arch import AutoencoderArch
from trainer.families.arch import Latent
from trainer.schema import MOST_UNITS


class VaeArch(AutoencoderArch):
    """tanh layers, a Gaussian posterior and Bernoulli pixels (Kingma & Welling 2014, appendix C)."""

    family: Literal["vae"] = "vae"
    latent: Latent = Latent(dim=20)
    """The prior of z, N(0, 1): the divergence from it is known in closed form."""
    g_hidden: int = Field(default=500, ge=8, le=MOST_UNITS)
    """Units of each of G's hidden layers."""
    e_hidden: int = Field(default=500, ge=8, le=MOST_UNITS)
    """Units of each of E's hidden layers."""
    layers: int = Field(default=1, ge=1, le=8)
    """Hidden layers of each net; the paper has one."""
    binarise: bool = False
    """Train on pixels drawn anew for every update, 1 with the grey value as probability (Burda et al. 2016, section 5.1).
    The bound is then one of a likelihood; on grey pixels it isn't, and its numbers don't compare."""

    @field_validator("latent")
    @classmethod
    def _normal(cls, latent: Latent) -> Latent:
        if latent.distribution != "normal":
            raise ValueError(
                f"distribution is {latent.distribution}, but a VAE's posterior is held to N(0, 1); use normal"
            )
        return latent


ARCH = VaeArch
