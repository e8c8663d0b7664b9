"""Architecture of R3GAN. Torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from trainer.families.arch import Arch, Latent, Resolution
from trainer.schema import MOST_UNITS


class R3ganArch(Arch):
    """Residual blocks without norms, the same in G and D (Huang et al. 2024, section 4, configuration E)."""

    family: Literal["r3gan"] = "r3gan"
    resolution: Resolution = 32
    """Height and width in pixels: a power of two from 8 to 128, or 28."""
    channels: Literal[1, 3] = 3
    """1 for grey, 3 for RGB."""
    latent: Latent = Latent(dim=64)
    """The prior of z; the paper's is normal with 64 dimensions."""
    g_width: int = Field(default=64, ge=4, le=MOST_UNITS)
    """Channels of G's trunk at the full resolution; they double towards the latent, up to `max_width`."""
    d_width: int = Field(default=64, ge=4, le=MOST_UNITS)
    """Channels of D's trunk at the full resolution; they double towards the logit, up to `max_width`."""
    max_width: int = Field(default=768, ge=4, le=MOST_UNITS)
    """Most channels of the trunk. Widths equal to it everywhere give the paper's nets (768 for CIFAR-10)."""
    blocks: int = Field(default=2, ge=1, le=16)
    """Residual blocks at each resolution."""
    expansion: int = Field(default=2, ge=1, le=8)
    """Channels inside a block, as a multiple of the trunk's."""
    group_width: int = Field(default=16, ge=1, le=MOST_UNITS)
    """Channels of one group of the grouped 3 × 3 convolutions."""

    @model_validator(mode="after")
    def _grouped(self) -> R3ganArch:
        for name in ("g_width", "d_width", "max_width"):
            width = getattr(self, name)
            if width * self.expansion % self.group_width:
                inside = f"{name} × expansion ({width} × {self.expansion})"
                raise ValueError(
                    f"group_width ({self.group_width}) does not divide {inside}; use a width that it divides"
                )
        return self


ARCH = R3ganArch
