"""The one place that turns a generator and a seed into images. Evaluation, publishing and sample grids use it.

Shape legend: n images, Z latent dimensions, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer import draws
from trainer.engine.pixels import to_numpy
from trainer.engine.random import generator as seeded
from trainer.families.arch import Arch
from trainer.families.base import AnyFamily
from trainer.nets.condition import one_hot

CodeValues = float | Sequence[float] | NDArray[np.float64]
"""A code's value for all images, or one for each."""


def sample(
    family: AnyFamily,
    arch: Arch,
    generator: nn.Module,
    *,
    n: int,
    seed: int,
    labels: Sequence[int] | NDArray[np.int64] | None = None,
    truncation: float | None = None,
    codes: Mapping[str, CodeValues] | None = None,
    batch: int = 256,
    start: int = 0,
) -> NDArray[np.uint8]:
    """Images `start` … `start + n - 1` of `seed`, uint8 [n, H, W, C].

    Image i's latent and label depend on (seed, i) alone; the net runs in evaluation mode without autocast, so image i
    does too, up to the rounding of a matrix product of another batch size (at most one level of a pixel).
    `labels` [n] in [0, classes) overrides the labels. `truncation` τ > 0 redraws the coordinates of z outside ±τ
    (Brock et al. 2018, section 3.1). `codes` sets latent codes by name, one value for all images or n of them
    (Chen et al. 2016). The net's mode is as before when this returns.
    Raises ValueError for wrong labels or codes, and for truncation with a prior that is not normal.
    """
    z, drawn = draw(family, arch, n=n, seed=seed, truncation=truncation, start=start)
    for name, values in (codes or {}).items():
        set_code(z, arch, name, values)
    y = drawn if labels is None else _checked(labels, n, arch)
    return images_of(generator, arch, z, y, batch=batch)


def images_of(
    generator: nn.Module, arch: Arch, z_nZ: Tensor, labels_n: Tensor | None = None, *, batch: int = 256
) -> NDArray[np.uint8]:
    """The images of given latents, uint8 [n, H, W, C]; in evaluation mode, which is put back."""
    n, z, y = len(z_nZ), z_nZ, labels_n
    device = next(generator.parameters()).device
    out = np.empty((n, arch.resolution, arch.resolution, arch.channels), np.uint8)
    with evaluating(generator):
        for first in range(0, n, batch):
            rows = slice(first, min(first + batch, n))
            images = generator(z[rows].to(device), None if y is None else y[rows].to(device))
            out[rows] = to_numpy(images, arch.pixel_range)
    return out


@contextmanager
def evaluating(*nets: nn.Module) -> Iterator[None]:
    """Inside, the nets are in evaluation mode and nothing records gradients; their modes are as before afterwards."""
    training = [module for net in nets for module in net.modules() if module.training]
    for net in nets:
        net.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module in training:
            module.training = True


def set_code(z_nZ: Tensor, arch: Arch, name: str, values: CodeValues) -> None:
    """Write one code's columns of z in place. Raises ValueError for a code that isn't there or a value it can't have."""
    codes = {code.name: code for code in arch.latent.codes}
    if name not in codes:
        known = f"codes: {', '.join(codes)}" if codes else f"family {arch.family} has no codes"
        raise ValueError(f"no code {name!r}; {known}")
    code = codes[name]
    array = np.asarray(values, dtype=np.float64)
    if array.shape not in ((), (len(z_nZ),)):
        raise ValueError(f"code {name} has shape {list(array.shape)}; give one value, or {len(z_nZ)}")
    given = torch.from_numpy(np.broadcast_to(array, len(z_nZ)).astype(np.float32))
    if code.kind == "continuous":
        z_nZ[:, code.column] = given
        return
    chosen = given.long()
    if bool((chosen != given).any()) or int(chosen.min()) < 0 or int(chosen.max()) >= code.size:
        raise ValueError(f"code {name} is {values!r}; it takes whole numbers in [0, {code.size})")
    z_nZ[:, code.column : code.column + code.size] = one_hot(chosen, code.size)


def draw(
    family: AnyFamily, arch: Arch, *, n: int, seed: int, truncation: float | None = None, start: int = 0
) -> tuple[Tensor, Tensor | None]:
    """z_nZ and labels_n (None when unconditional) of images `start` … `start + n - 1`, as `trainer/draws.py` has it."""
    if truncation is not None and (arch.latent.distribution != "normal" or truncation <= 0):
        raise ValueError(
            f"truncation {truncation} needs a normal prior and a value above 0; "
            f"this model's prior is {arch.latent.distribution}"
        )
    if n < 1:
        raise ValueError(f"n is {n}; ask for 1 image or more")
    if not family.draws_by_the_prior:
        return _drawn_one_by_one(family, arch, range(start, start + n), seed, truncation)
    prior, codes = arch.latent.model_dump(), [asdict(code) for code in arch.latent.codes]
    z = draws.latents(prior, codes, seed=seed, first=start, n=n, limit=truncation)
    if not arch.conditional:
        return torch.from_numpy(z), None
    return torch.from_numpy(z), torch.from_numpy(draws.labels(arch.classes, seed=seed, first=start, n=n))


def _drawn_one_by_one(
    family: AnyFamily, arch: Arch, rows: range, seed: int, truncation: float | None
) -> tuple[Tensor, Tensor | None]:
    """Of a family with latents or labels of its own: from a generator for each image."""
    latents, labels = [], []
    for i in rows:
        source = seeded(seed, "sample", i)
        z = family.latents(arch, 1, source)
        if truncation is not None:
            z[:, : arch.latent.dim] = truncated(z[:, : arch.latent.dim], truncation, source)
        latents.append(z)
        labels.append(family.labels(arch, 1, seeded(seed, "sample-label", i)))
    known = [label for label in labels if label is not None]
    return torch.cat(latents), torch.cat(known) if known else None


def truncated(z: Tensor, limit: float, source: torch.Generator) -> Tensor:
    """z with the coordinates outside ±limit drawn again until none is; limit 0 gives zeros, to which small limits tend."""
    if limit == 0.0:
        return torch.zeros_like(z)
    outside = z.abs() > limit
    while bool(outside.any()):
        z = torch.where(outside, torch.randn(z.shape, generator=source), z)
        outside = z.abs() > limit
    return z


def _checked(labels: Sequence[int] | NDArray[np.int64], n: int, arch: Arch) -> Tensor | None:
    if not arch.conditional:
        raise ValueError("labels were given but the model is unconditional")
    y = torch.as_tensor(np.asarray(labels), dtype=torch.int64)
    if y.shape != (n,) or int(y.min()) < 0 or int(y.max()) >= arch.classes:
        raise ValueError(f"labels must be {n} integers in [0, {arch.classes}), got shape {list(y.shape)}")
    return y
