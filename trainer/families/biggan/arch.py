"""Architecture of BigGAN, and what BigGAN-deep shares with it. Torch-free."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from trainer.families.arch import Arch, Latent
from trainer.schema import MOST_UNITS

RESOLUTIONS = (8, 16, 28, 32, 64, 128, 256, 512)
LARGE = {64: (16, 16, 8, 4), 128: (16, 16, 8, 4, 2), 256: (16, 16, 8, 8, 4, 2), 512: (16, 16, 8, 8, 4, 2, 1)}
"""Channels that G's stages take, as multiples of its width, by resolution (Brock et al. 2018, appendix B)."""
SMALL = 4
"""The same for all stages of the nets up to 32 px (the authors' CIFAR-10 nets)."""


def _possible(resolution: int) -> int:
    if resolution not in RESOLUTIONS:
        raise ValueError(f"{resolution} is not possible; use one of {', '.join(map(str, RESOLUTIONS))}")
    return resolution


class BigganBase(Arch):
    """What the two share: class-conditional nets of residual blocks, doubling from a base map of 4 px (7 for 28 px)."""

    label_use: ClassVar[Literal["optional", "required", "none"]] = "required"

    resolution: Annotated[int, AfterValidator(_possible)] = 128
    """Height and width in pixels: 8, 16, 28, 32, 64, 128, 256 or 512."""
    channels: Literal[1, 3] = 3
    """1 for grey, 3 for RGB."""
    latent: Latent = Latent(dim=120)
    """The prior of z."""
    g_width: int = Field(default=96, ge=8, le=MOST_UNITS)
    """Channels of G at full resolution; the paper's tables give the others as multiples of it (its "ch")."""
    d_width: int = Field(default=96, ge=8, le=MOST_UNITS)
    """Channels of D at full resolution, which the paper's tables refer to."""
    attention: int | Annotated[tuple[int, ...], Field(min_length=1)] | None = None
    """Resolution of the maps on which G and D have self-attention (the paper: 64), or a list of several; null: none."""
    shared_embedding: bool = True
    """One embedding of the classes, from which G's norms project their gains and biases; false: each has one of its own."""
    shared_dim: int = Field(default=128, ge=1, le=MOST_UNITS)
    """Dimensions of the shared embedding."""
    skip_z: bool = True
    """Whether z reaches all of G's blocks (hierarchical latent) or its first layer alone. Needs the shared embedding."""
    norm_eps: float = Field(default=1e-5, gt=0.0, le=1e-2)
    """What G's conditional batch norms add to the variance (the authors' TF-Hub models: 1e-4). The last norm adds 1e-5."""
    init: Literal["orthogonal", "normal"] = "orthogonal"
    """Initial weights: `orthogonal` (Saxe et al. 2014), or `normal`, N(0, 0.02)."""

    @model_validator(mode="after")
    def _buildable(self) -> BigganBase:
        possible = self.attention_resolutions
        if wrong := [resolution for resolution in self.attended if resolution not in possible]:
            fix = f"use one of {', '.join(map(str, possible))}" if possible else "leave it out"
            raise ValueError(f"attention ({wrong[0]}) is no resolution of the maps at {self.resolution} px; {fix}")
        if len(set(self.attended)) < len(self.attended):
            raise ValueError(f"attention ({', '.join(map(str, self.attended))}) names a resolution twice; keep one")
        if self.skip_z and not self.shared_embedding:
            raise ValueError(
                "skip_z (true) needs the shared embedding; set skip_z to false or shared_embedding to true"
            )
        return self

    @property
    def base(self) -> int:
        """Pixels a side of G's first map."""
        return 7 if self.resolution == 28 else 4

    @property
    def doublings(self) -> int:
        """How often G doubles the resolution."""
        return (self.resolution // self.base).bit_length() - 1

    @property
    def g_stages(self) -> tuple[tuple[int, int], ...]:
        """(input, output) channels of each of G's stages. Each doubles the resolution."""
        inputs = LARGE.get(self.resolution, (SMALL,) * self.doublings)
        outputs = (*inputs[1:], SMALL if self.resolution not in LARGE else max(1, inputs[-1] // 2))
        return tuple((a * self.g_width, b * self.g_width) for a, b in zip(inputs, outputs, strict=True))

    @property
    def attended(self) -> tuple[int, ...]:
        """Resolutions of the maps that have self-attention."""
        if self.attention is None:
            return ()
        return (self.attention,) if isinstance(self.attention, int) else self.attention

    @property
    def attention_resolutions(self) -> tuple[int, ...]:
        """Where attention can be: resolutions that follow one of G's doublings and one of D's halvings."""
        return tuple(self.base << i for i in range(self.doublings - 1, 0, -1))


class BigganArch(BigganBase):
    """One residual block at each resolution; z is cut into one part for the first layer and one for each block."""

    family: Literal["biggan"] = "biggan"

    @model_validator(mode="after")
    def _divisible(self) -> BigganArch:
        parts = self.doublings + 1
        if self.skip_z and self.latent.dim % parts:
            dim = max(1, self.latent.dim // parts) * parts
            text = f"latent.dim ({self.latent.dim}) can't be cut into {parts} equal parts for {self.resolution} px"
            raise ValueError(f"{text}; use a multiple of {parts}, e.g. {dim}, or set skip_z to false")
        return self

    @property
    def chunk(self) -> int:
        """Columns of z that each part of G takes."""
        return self.latent.dim // (self.doublings + 1) if self.skip_z else self.latent.dim

    @property
    def d_stages(self) -> tuple[tuple[int, bool], ...]:
        """(output channels, whether it halves the resolution) of each of D's blocks: G mirrored, and one block more."""
        if self.resolution in LARGE:
            widths = [output // self.g_width for _, output in reversed(self.g_stages)]
            return (*((width * self.d_width, True) for width in widths), (widths[-1] * self.d_width, False))
        halvings = min(2, self.doublings)
        return ((SMALL * self.d_width, True),) * halvings + ((SMALL * self.d_width, False),) * halvings


ARCH = BigganArch
