"""Randomness as pure functions of (seed, what for, number, rank or row). No generator's state outlives a call.

So a restart needs no generator state, and the latents of a batch do not depend on how many workers share it.

Shape legend: B global batch, b rows of one rank, Z latent dimensions.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from trainer.families.arch import Arch
from trainer.families.base import AnyFamily


def fold(seed: int, *parts: str | int) -> int:
    """A seed in [0, 2**63) for one purpose: the first 8 bytes, big-endian, of SHA-256 of ``seed/part/part…``, less a bit.

    Distinct purposes give independent seeds, equal ones equal seeds, on every machine and version.
    """
    text = "/".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *parts: str | int) -> torch.Generator:
    """A CPU generator seeded by `fold`."""
    return torch.Generator().manual_seed(fold(seed, *parts))


def seed_globals(seed: int, *parts: str | int) -> None:
    """Seed torch's global generators (CPU and, if in use, CUDA) by `fold`: dropout, interpolation, initial weights."""
    torch.manual_seed(fold(seed, *parts))


def latents(
    family: AnyFamily, arch: Arch, batch: int, rows: slice, *, seed: int, phase: str, number: int
) -> tuple[Tensor, Tensor | None]:
    """z_bZ and fake labels_b (None when unconditional) of `rows` of the global batch of update `number` of `phase`.

    All B rows are drawn on the CPU and then cut, so that the ranks' rows together are the same for every world size.
    """
    z = family.latents(arch, batch, generator(seed, "latents", phase, number))
    labels = family.labels(arch, batch, generator(seed, "labels", phase, number))
    return z[rows], None if labels is None else labels[rows]
