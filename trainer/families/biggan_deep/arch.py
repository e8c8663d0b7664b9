"""Architecture of BigGAN-deep. Torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainer.families.arch import Latent
from trainer.families.biggan.arch import LARGE, SMALL, BigganBase
from trainer.schema import MOST_UNITS


class BigganDeepArch(BigganBase):
    """Bottleneck blocks, two at each resolution; all of z goes to each block, beside the class embedding."""

    family: Literal["biggan-deep"] = "biggan-deep"
    latent: Latent = Latent(dim=128)
    """The prior of z."""
    g_width: int = Field(default=128, ge=8, le=MOST_UNITS)
    """Channels of G at full resolution; the paper's tables give the others as multiples of it (its "ch")."""
    d_width: int = Field(default=128, ge=8, le=MOST_UNITS)
    """Channels of D at full resolution, which the paper's tables refer to."""
    blocks: int = Field(default=2, ge=1, le=8)
    """Residual blocks at each resolution."""

    @property
    def d_base(self) -> int:
        """Channels of D's first convolution."""
        return (1 if self.resolution in LARGE else SMALL) * self.d_width

    @property
    def d_stages(self) -> tuple[tuple[int, bool], ...]:
        """(output channels, whether it halves the resolution) of each of D's stages: G mirrored."""
        if self.resolution in LARGE:
            return tuple((width * self.d_width, True) for width in reversed(LARGE[self.resolution]))
        halvings = min(2, self.doublings)
        return ((SMALL * self.d_width, True),) * halvings + ((SMALL * self.d_width, False),)


ARCH = BigganDeepArch
