"""Architecture of InfoGAN. Torch-free."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from trainer.families.arch import Arch, CodedLatent, Resolution
from trainer.schema import MOST_UNITS, MOST_WEIGHT


class InfoganArch(Arch):
    """Convolutions with fully connected layers, and Q on D's body (Chen et al. 2016, appendix C.1 and authors' code)."""

    players: ClassVar[tuple[str, ...]] = ("G", "D", "Q")
    pixel_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    label_use: ClassVar[Literal["optional", "required", "none"]] = "none"

    family: Literal["infogan"] = "infogan"
    resolution: Resolution = 28
    """Height and width in pixels: a power of two from 8 to 128, or 28."""
    channels: Literal[1, 3] = 1
    """1 for grey, 3 for RGB."""
    latent: CodedLatent = CodedLatent(dim=62, distribution="uniform", low=-1.0, high=1.0)
    """Noise and codes; the paper's for MNIST: 62 of noise, c1 of 10 values, c2 and c3 continuous."""
    g_width: int = Field(default=64, ge=4, le=MOST_UNITS)
    """Channels of G's last hidden layer; they double towards the latent."""
    d_width: int = Field(default=64, ge=4, le=MOST_UNITS)
    """Channels of D's first layer; they double towards the features."""
    max_width: int = Field(default=512, ge=4, le=MOST_UNITS)
    """Most channels of any layer."""
    g_hidden: int = Field(default=1024, ge=4, le=MOST_UNITS)
    """Units of G's fully connected layer."""
    d_hidden: int = Field(default=1024, ge=4, le=MOST_UNITS)
    """Units of D's fully connected layer: the features that Q shares."""
    q_hidden: int = Field(default=128, ge=4, le=MOST_UNITS)
    """Units of Q's own hidden layer."""
    leak: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Slope of D's and Q's leaky ReLU below 0; the paper says 0.1, the authors' code has 0.01."""
    maximise_information: bool = True
    """False: a plain GAN. Q then only reads: neither G nor D's body is trained for it (the paper's Fig. 1)."""
    categorical_weight: float = Field(default=1.0, gt=0.0, le=MOST_WEIGHT)
    """λ of the categorical codes' bound in the losses of G, D's body and Q."""
    continuous_weight: float = Field(default=1.0, gt=0.0, le=MOST_WEIGHT)
    """λ of the continuous codes. With a `sigma` of 1 it is already small beside D's and G's losses."""
    sigma: float = Field(default=1.0, gt=0.0, le=MOST_WEIGHT)
    """Fixed standard deviation of Q of a continuous code; the authors' is 1."""

    @property
    def d_batch_statistics(self) -> bool:
        """D has batch norm."""
        return True


ARCH = InfoganArch
