"""Adversarial losses: pairs of pure functions of D's logits, all minimised.

With D = sigmoid(logit) and V = E log D(x) + E log(1 − D(G(z))) (Goodfellow et al. 2014, Eq. 1), `minimax` gives
d = −V, g = V's second term. log σ(l) = −softplus(−l) keeps all of them finite for any finite logit.

Shape legend: B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from torch.nn.functional import relu, softplus

from trainer.spec.sections import LossName


class GLoss(Protocol):
    """G's loss of fake logits_B; a relativistic one takes the logits_B of the real images they are paired with, too."""

    def __call__(self, fake_B: Tensor, real_B: Tensor | None = None) -> Tensor:
        """A scalar."""
        ...


@dataclass(frozen=True)
class LossPair:
    """D's loss of (real logits_B, fake logits_B) and G's loss of fake logits_B; means over the batch, scalars.

    threshold: logit above which D calls an image real; None where a logit alone is no decision.
    relativistic: whether D judges pairs, row i of the real with row i of the fake logits; then `g` needs the real ones.
    """

    d: Callable[[Tensor, Tensor], Tensor]
    g: GLoss
    threshold: float | None
    relativistic: bool = False


def d_log(real_B: Tensor, fake_B: Tensor) -> Tensor:
    """−V, the cross-entropy of D (Goodfellow et al. 2014, Eq. 1). Least value for equal distributions: log 4."""
    return softplus(-real_B).mean() + softplus(fake_B).mean()


def g_minimax(fake_B: Tensor, real_B: Tensor | None = None) -> Tensor:
    """E log(1 − D(G(z))) (Goodfellow et al. 2014, Eq. 1); saturates where D is sure."""
    return -softplus(fake_B).mean()


def g_non_saturating(fake_B: Tensor, real_B: Tensor | None = None) -> Tensor:
    """−E log D(G(z)) (Goodfellow et al. 2014, section 3, last paragraph)."""
    return softplus(-fake_B).mean()


def d_hinge(real_B: Tensor, fake_B: Tensor) -> Tensor:
    """E max(0, 1 − D(x)) + E max(0, 1 + D(G(z))) (Lim & Ye 2017; Miyato et al. 2018, Eq. 16)."""
    return relu(1.0 - real_B).mean() + relu(1.0 + fake_B).mean()


def d_wasserstein(real_B: Tensor, fake_B: Tensor) -> Tensor:
    """E D(G(z)) − E D(x): minus the estimate of the distance (Arjovsky et al. 2017, Eq. 2)."""
    return fake_B.mean() - real_B.mean()


def g_linear(fake_B: Tensor, real_B: Tensor | None = None) -> Tensor:
    """−E D(G(z)) (Arjovsky et al. 2017, Algorithm 1; Miyato et al. 2018, Eq. 17)."""
    return -fake_B.mean()


def d_least_squares(real_B: Tensor, fake_B: Tensor) -> Tensor:
    """½ E(D(x) − 1)² + ½ E D(G(z))² (Mao et al. 2017, Eq. 2 with a = 0, b = 1)."""
    return 0.5 * (real_B - 1.0).square().mean() + 0.5 * fake_B.square().mean()


def g_least_squares(fake_B: Tensor, real_B: Tensor | None = None) -> Tensor:
    """½ E(D(G(z)) − 1)² (Mao et al. 2017, Eq. 2 with c = 1)."""
    return 0.5 * (fake_B - 1.0).square().mean()


def d_relativistic(real_B: Tensor, fake_B: Tensor) -> Tensor:
    """−E log σ(D(x) − D(G(z))) over pairs (Jolicoeur-Martineau 2019, Eq. 8; Huang et al. 2024, Eq. 2 with f = −softplus(−t))."""
    return softplus(fake_B - real_B).mean()


def g_relativistic(fake_B: Tensor, real_B: Tensor | None = None) -> Tensor:
    """−E log σ(D(G(z)) − D(x)) over pairs (Jolicoeur-Martineau 2019, Eq. 9). Raises ValueError without real logits."""
    if real_B is None:
        raise ValueError("the relativistic loss of G needs D's logits of real images")
    return softplus(real_B - fake_B).mean()


LOSSES: Mapping[LossName, LossPair] = {
    "minimax": LossPair(d_log, g_minimax, threshold=0.0),
    "non-saturating": LossPair(d_log, g_non_saturating, threshold=0.0),
    "hinge": LossPair(d_hinge, g_linear, threshold=0.0),
    "wasserstein": LossPair(d_wasserstein, g_linear, threshold=None),
    "least-squares": LossPair(d_least_squares, g_least_squares, threshold=0.5),
    "relativistic": LossPair(d_relativistic, g_relativistic, threshold=None, relativistic=True),
}
"""Every loss by the name that the spec uses; `own` is no pair, but a family's own phases."""
