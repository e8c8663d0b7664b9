"""Losses of autoencoders: how far a reconstruction is, and what a code costs. Per image, and means over the batch.

Shape legend: B batch, C channels, R resolution, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def squared_error(logits_BCRR: Tensor, images_BCRR: Tensor) -> Tensor:
    """E‖x − σ(l)‖₂² summed over the pixels of an image, for pixels in [0, 1]. Scalar."""
    return (images_BCRR - logits_BCRR.sigmoid()).square().flatten(1).sum(dim=1).mean()


def absolute_error(logits_BCRR: Tensor, images_BCRR: Tensor) -> Tensor:
    """E‖x − σ(l)‖₁ summed over the pixels of an image, for pixels in [0, 1]. Scalar."""
    return (images_BCRR - logits_BCRR.sigmoid()).abs().flatten(1).sum(dim=1).mean()


def cross_entropy(logits_BCRR: Tensor, images_BCRR: Tensor) -> Tensor:
    """−E log p(x | z) of independent Bernoulli pixels in nats per image (Kingma & Welling 2014, appendix C.1). Scalar.

    Pixels in [0, 1]. A likelihood if they are 0 or 1. For grey ones it is the cross-entropy, which is not a density
    of x and at best the pixels' own entropy, above 0.
    """
    entropies = binary_cross_entropy_with_logits(logits_BCRR, images_BCRR, reduction="none")
    return entropies.flatten(1).sum(dim=1).mean()


RECONSTRUCTIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l2": squared_error,
    "l1": absolute_error,
    "bce": cross_entropy,
}
"""(logits of the pixels, images) → scalar, by the name that an arch uses."""


def reparametrised(mean_BZ: Tensor, log_variance_BZ: Tensor) -> Tensor:
    """z = μ + σ ⊙ ε, ε ~ N(0, 1) from torch's global generator (Kingma & Welling 2014, section 2.4): [B, Z]."""
    return mean_BZ + (0.5 * log_variance_BZ).exp() * torch.randn_like(mean_BZ)


def gaussian_divergence(mean_BZ: Tensor, log_variance_BZ: Tensor) -> Tensor:
    """E KL(N(μ, σ²) ‖ N(0, 1)) in nats per image: −½ Σ (1 + log σ² − μ² − σ²) (Kingma & Welling 2014, appendix B). Scalar."""
    terms = mean_BZ.square() + log_variance_BZ.exp() - 1.0 - log_variance_BZ
    return 0.5 * terms.sum(dim=1).mean()
