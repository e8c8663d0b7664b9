"""Lower bounds of log p(x) for models with a latent: the ELBO and its importance-weighted tightening, in nats.

Pure functions of two callables, so that they know no net and can be held against models with a known likelihood.

Shape legend: N images, S samples of z for each, Z latent dimensions, F pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi

import torch
import torch.nn.functional as F
from torch import Tensor

Propose = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""(x_N…, S) → (z_SNZ from q(z | x), log q(z | x) [S, N])."""
LogJoint = Callable[[Tensor, Tensor], Tensor]
"""(x_N…, z_SNZ) → log p(x, z) [S, N]."""


@dataclass(frozen=True)
class Bounds:
    """Per image [N], float64: the evidence lower bound, and the importance-weighted bound of all S samples."""

    elbo: Tensor
    weighted: Tensor


def bounds(x: Tensor, propose: Propose, log_joint: LogJoint, samples: int, at_once: int = 50) -> Bounds:
    """ELBO = E_q[log w] and L_S = E_q[log 1/S Σ w_s], w = p(x, z) / q(z | x) (Burda et al. 2016, Eq. 8).

    ELBO ≤ L_S ≤ log p(x), equal if q is the posterior; L_S rises to log p(x) with S. One draw of S samples for each image; at most
    `at_once` of them are held. Raises ValueError for fewer than 1 sample.
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}; use 1 or more")
    log_w = []
    for first in range(0, samples, at_once):
        z, log_q = propose(x, min(at_once, samples - first))
        log_w.append((log_joint(x, z) - log_q).double())
    log_w_SN = torch.cat(log_w)
    return Bounds(log_w_SN.mean(dim=0), torch.logsumexp(log_w_SN, dim=0) - log(samples))


def log_normal(z: Tensor, mean: Tensor | float = 0.0, log_variance: Tensor | float = 0.0) -> Tensor:
    """log N(z; mean, exp(log_variance)) summed over the last axis: [...]."""
    variance = torch.as_tensor(log_variance, dtype=z.dtype, device=z.device)
    return -0.5 * (log(2.0 * pi) + variance + (z - mean) ** 2 / variance.exp()).sum(dim=-1)


def log_bernoulli(x: Tensor, logits: Tensor) -> Tensor:
    """log p(x) of independent Bernoulli pixels, summed over the last axis: [...].

    x in [0, 1]. For binary x this is a likelihood, and comparable between models. For grey x it is the cross-entropy that
    many VAEs train with, not a density of x (it does not integrate to 1); never compare the two.
    """
    return -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(dim=-1)
