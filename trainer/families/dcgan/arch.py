"""Architecture of DCGAN. Torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainer.families.arch import Arch, Latent, Resolution
from trainer.schema import MOST_UNITS


class DcganArch(Arch):
    """Strided convolutions, batch norm, ReLU in G, leaky ReLU in D (Radford et al. 2016, section 3).

    `g_kind` has the two generators besides that Arjovsky et al. 2017 show a Wasserstein critic can train.
    """

    family: Literal["dcgan"] = "dcgan"
    resolution: Resolution = 32
    """Height and width in pixels: a power of two from 8 to 128, or 28."""
    channels: Literal[1, 3] = 1
    """1 for grey, 3 for RGB."""
    latent: Latent = Latent(dim=100, distribution="uniform", low=-1.0, high=1.0)
    """The prior of z."""
    g_kind: Literal["conv", "conv-no-norm", "mlp"] = "conv"
    """`conv`: the paper's. `conv-no-norm`: without batch norm and `g_width` channels in every layer. `mlp`: four ReLU
    layers of `g_width` units and no convolution (the latter two: Arjovsky et al. 2017, section 4.3)."""
    g_width: int = Field(default=64, ge=4, le=MOST_UNITS)
    """Channels of G's last hidden layer; they double towards the latent (the paper: 128 at 64 px)."""
    d_width: int = Field(default=64, ge=4, le=MOST_UNITS)
    """Channels of D's first layer; they double towards the output."""
    max_width: int = Field(default=1024, ge=4, le=MOST_UNITS)
    """Most channels of any layer."""
    kernel: Literal[4, 5] = 5
    """Kernel of the strided convolutions; the paper has 5, 4 is cheaper and covers every pixel equally often."""
    d_norm: Literal["batch", "layer", "none"] = "batch"
    """Norm in D. The paper's is `batch`; the gradient penalties need `layer` or `none`."""

    @property
    def d_batch_statistics(self) -> bool:
        """D has batch norm unless `d_norm` says otherwise."""
        return self.d_norm == "batch"


ARCH = DcganArch
