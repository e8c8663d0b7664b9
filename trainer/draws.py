"""Latents and labels of image i of a seed: functions of (seed, i) alone, drawn for many images at once.

The engine draws by this file (scores, sample grids), and every published package holds it (`draws.py`, by format 4), so it
stands on numpy and torch alone. Raise SCHEME when a draw changes, and keep what packages of the schemes before draw by.

Scheme 2, since format 4: Philox 4x64 (Salmon et al. 2011) keyed by the first 16 bytes, big-endian, of SHA-256 of
`seed/purpose`. Image i of width W has the ⌈W/4⌉ counter values from i · ⌈W/4⌉ on, so any range of images is one run of the
counter. A 64-bit word w gives u = (⌊w / 2¹²⌋ + ½) / 2⁵², in (0, 1); a normal is Φ⁻¹(u).
Scheme 1: a torch.Generator for each image, seeded by SHA-256 of `seed/purpose/i`.

Shape legend: n images, W words, Z latent dimensions.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SCHEME = 2
LATENTS, AGAIN, LABELS = "sample", "sample-again", "sample-label"
"""Purposes: each is a stream of its own."""
_LANES = 4
"""Words of one counter value."""

Prior = Mapping[str, Any]
"""`distribution` ("normal" or "uniform"), `dim`, and the uniform's `low` and `high`."""
Codes = Sequence[Mapping[str, Any]]
"""Of each latent code `kind` ("categorical" or "continuous") and `size`, in the order of their columns."""


def latents(
    prior: Prior, codes: Codes, *, seed: int, first: int, n: int, limit: float | None = None, scheme: int = SCHEME
) -> NDArray[np.float32]:
    """z of images `first` … `first + n - 1`, float32 [n, Z]: the prior's noise, then the codes.

    limit: coordinates of the noise outside ±limit are drawn again (Brock et al. 2018, section 3.1); the others stay.
    """
    if scheme == 1:
        return torch.cat([_latent_1(prior, codes, seed, i, limit) for i in range(first, first + n)]).numpy()
    dim = prior["dim"]
    u_nW = uniform(seed, LATENTS, first, n, dim + len(codes))
    noise = _noise(prior, u_nW[:, :dim])
    if limit is not None:
        outside = np.abs(noise) > limit
        again = _within(uniform(seed, AGAIN, first, n, dim)[outside], limit)
        noise[outside] = again
    columns = [_code(code, u_nW[:, dim + number]) for number, code in enumerate(codes)]
    return np.concatenate([noise, *columns], axis=1)


def labels(classes: int, *, seed: int, first: int, n: int, scheme: int = SCHEME) -> NDArray[np.int64]:
    """Labels of those images, int64 [n], uniform in [0, classes)."""
    if scheme == 1:
        drawn = [torch.randint(classes, (1,), generator=seeded(seed, LABELS, i)) for i in range(first, first + n)]
        return torch.cat(drawn).numpy()
    return (uniform(seed, LABELS, first, n, 1)[:, 0] * classes).astype(np.int64)


def uniform(seed: int, purpose: str, first: int, n: int, width: int) -> NDArray[np.float64]:
    """Uniform numbers in (0, 1) of images `first` … `first + n - 1`, float64 [n, width]."""
    key = int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:16], "big")
    blocks = -(-width // _LANES)
    source = np.random.Philox(key=key, counter=first * blocks)
    words: NDArray[np.uint64] = source.random_raw(n * blocks * _LANES).reshape(n, blocks * _LANES)[:, :width]
    return ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def normal(u: NDArray[np.float64]) -> NDArray[np.float32]:
    """Φ⁻¹(u), float32, of u's shape. torch computes it one by one: a value does not depend on its neighbours."""
    z: NDArray[np.float32] = torch.special.ndtri(torch.from_numpy(np.ascontiguousarray(u))).float().numpy()
    return z


def _noise(prior: Prior, u: NDArray[np.float64]) -> NDArray[np.float32]:
    if prior["distribution"] == "normal":
        return normal(u)
    noise: NDArray[np.float32] = (prior["low"] + u * (prior["high"] - prior["low"])).astype(np.float32)
    return noise


def _within(u: NDArray[np.float64], limit: float) -> NDArray[np.float32]:
    """The standard normal within ±limit at u: Φ⁻¹(½ + (u − ½) · erf(limit / √2))."""
    bound = np.float32(limit)
    return np.clip(normal(0.5 + (u - 0.5) * math.erf(limit / math.sqrt(2.0))), -bound, bound)


def _code(code: Mapping[str, Any], u: NDArray[np.float64]) -> NDArray[np.float32]:
    """A code's columns, [n, size]: the one-hot of a random value, or U(-1, 1)."""
    if code["kind"] == "continuous":
        return (2.0 * u - 1.0).astype(np.float32)[:, None]
    one_hot: NDArray[np.float32] = np.eye(code["size"], dtype=np.float32)[(u * code["size"]).astype(np.int64)]
    return one_hot


def _latent_1(prior: Prior, codes: Codes, seed: int, i: int, limit: float | None) -> Tensor:
    source, dim = seeded(seed, LATENTS, i), prior["dim"]
    if prior["distribution"] == "uniform":
        noise = torch.empty(1, dim).uniform_(prior["low"], prior["high"], generator=source)
    else:
        noise = torch.randn(1, dim, generator=source)
    z = torch.cat([noise, *(_code_1(code, source) for code in codes)], dim=1)
    while limit is not None and bool((outside := z[:, :dim].abs() > limit).any()):
        z[:, :dim] = torch.where(outside, torch.randn(1, dim, generator=source), z[:, :dim])
    return z


def _code_1(code: Mapping[str, Any], source: torch.Generator) -> Tensor:
    if code["kind"] == "continuous":
        return torch.empty(1, 1).uniform_(-1.0, 1.0, generator=source)
    return torch.eye(code["size"])[torch.randint(code["size"], (1,), generator=source)]


def seeded(seed: int, *parts: str | int) -> torch.Generator:
    """A generator for one purpose, from the first 63 bits of SHA-256 of `seed/part/part…`."""
    text = "/".join(str(part) for part in (seed, *parts))
    folded = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(folded)
