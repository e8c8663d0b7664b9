"""Divergences as a trained discriminator or critic sees them, and the slope that a critic may have.

Both are lower bounds of the divergence when the expectations are exact: a net that trained too little, or is too small,
estimates too low. Evaluated on the samples it was trained on, an overfitted net estimates too high.

Shape legend: B batch, D dimensions of a point.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt

import torch
from torch import Tensor, nn

from trainer.evaluate.divergences import LOG2
from trainer.objective.losses import LOSSES
from trainer.objective.penalties import Critic, input_gradients


@torch.no_grad()
def jensen_shannon_estimate(real_logits_B: Tensor, fake_logits_B: Tensor) -> float:
    """log 2 − L_D/2 in nats, L_D = −E log D(x) − E log(1 − D(G(z))): at most JSD, which the best D reaches.

    max over D of V(D, G) = −log 4 + 2 JSD (Goodfellow et al. 2014, Theorem 1), and L_D = −V. Negative for a D that
    does worse than D = ½. Logits of any shape, their means stand for the expectations.
    """
    return LOG2 - 0.5 * LOSSES["minimax"].d(real_logits_B.double(), fake_logits_B.double()).item()


@torch.no_grad()
def wasserstein_estimate(real_B: Tensor, fake_B: Tensor, lipschitz: float = 1.0) -> float:
    """(E f(x) − E f(G(z))) / K: at most W₁ for a K-Lipschitz critic f, which the best f reaches.

    Kantorovich–Rubinstein duality up to the scale K (Arjovsky et al. 2017, Eq. 2 and 3). lipschitz: K where it is known
    or bounded (`clipped_slope`, `lipschitz_bound`) or measured (`largest_slope`); 1 takes f as it is, as after training
    with a gradient penalty. Values of any shape, their means stand for the expectations. Raises ValueError for K ≤ 0.
    """
    if not lipschitz > 0.0:
        raise ValueError(f"the Lipschitz constant must be positive, got {lipschitz}")
    return -LOSSES["wasserstein"].d(real_B.double(), fake_B.double()).item() / lipschitz


def slopes(critic: Critic, x_BD11: Tensor) -> Tensor:
    """‖∇f(x)‖₂ of each sample: [B], without a graph."""
    gradient = input_gradients(critic, x_BD11, None).detach()
    norms: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return norms


def largest_slope(critic: Critic, x_BD11: Tensor) -> float:
    """max ‖∇f‖₂ over the given points: f's Lipschitz constant on a region that they cover densely, else a bit less."""
    return float(slopes(critic, x_BD11).max())


def lipschitz_bound(net: nn.Module) -> float:
    """Product of the linear layers' largest singular values: an upper bound of a ReLU net's Lipschitz constant.

    Activations must be 1-Lipschitz and the layers in a chain, as in `points.PointMlp`. Raises ValueError for a net with
    parameters in other layers.
    """
    bound = 1.0
    for module in net.modules():
        if isinstance(module, nn.Linear):
            bound *= float(torch.linalg.matrix_norm(module.weight.detach().double(), ord=2))
        elif any(True for _ in module.parameters(recurse=False)):
            raise ValueError(f"{type(module).__name__} is no linear layer; the bound knows none other")
    return bound


def clipped_slope(widths: Sequence[int], bound: float, *, along_axis: bool) -> float:
    """The steepest that a ReLU net can be whose weights all lie in [−c, c]: c^L · Π hidden widths (· √D).

    widths: inputs D, hidden units of each layer, 1 output; L is the number of layers with weights. A path from an input
    to the output has a slope of at most c^L, and from each input there are Π hidden widths of them. That is the steepest
    along one coordinate (`along_axis`), as between parallel lines; along a diagonal, where the largest ‖∇f‖₂ is, it is √D
    times that. It bounds the K that clipping imposes (Arjovsky et al. 2017, section 3, "K·W(Pr, Pθ)"); training may end
    with less, when units are dead. Raises ValueError unless there is one output.
    """
    if widths[-1] != 1 or len(widths) < 2:
        raise ValueError(f"widths must go from D inputs to 1 output, got {list(widths)}")
    along: float = bound ** (len(widths) - 1) * prod(widths[1:-1])
    return along if along_axis else along * sqrt(widths[0])
