"""Exponential moving average of a player's weights.

Its buffers are the player's own, of other weights than the averaged ones. Before an average is used (`ready`), what follows from
its weights alone, the vectors of spectral norms, is computed of them. Batch norm's statistics are of inputs, too: they stay the
player's running ones, or are taken anew as standing statistics (`engine.standing`).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from trainer.nets.spectral import converge_


def copy_of(net: nn.Module) -> nn.Module:
    """An independent copy in evaluation mode that takes no gradients."""
    return copy.deepcopy(net).eval().requires_grad_(False)


def ready(average: nn.Module) -> nn.Module:
    """The average itself, to be sampled, scored or exported: spectral norms are those of its own weights.

    The vectors that this writes are a function of the weights and last until the next `update`, so nothing of a training
    depends on whether and when its average was used.
    """
    converge_(average)
    return average


@torch.no_grad()
def update(average: nn.Module, net: nn.Module, decay: float) -> None:
    """average ← decay · average + (1 − decay) · net for parameters; buffers (running statistics, spectral vectors) are copied.

    Decay 0 copies. A constant net w reached from w₀ gives w + decayᵏ (w₀ − w) after k updates.
    """
    theirs: list[Tensor] = list(net.parameters())
    ours: list[Tensor] = list(average.parameters())
    torch._foreach_lerp_(ours, theirs, 1.0 - decay)
    buffers = list(average.buffers())
    if buffers:
        torch._foreach_copy_(buffers, list(net.buffers()))
