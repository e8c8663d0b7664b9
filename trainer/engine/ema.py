"""Exponential moving average of a player's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def copy_of(net: nn.Module) -> nn.Module:
    """An independent copy in evaluation mode that takes no gradients."""
    return copy.deepcopy(net).eval().requires_grad_(False)


@torch.no_grad()
def update(average: nn.Module, net: nn.Module, decay: float) -> None:
    """average ← decay · average + (1 − decay) · net for parameters; buffers (running statistics) are copied.

    Decay 0 copies. A constant net w reached from w₀ gives w + decayᵏ (w₀ − w) after k updates.
    """
    theirs: list[Tensor] = list(net.parameters())
    ours: list[Tensor] = list(average.parameters())
    torch._foreach_lerp_(ours, theirs, 1.0 - decay)
    buffers = list(average.buffers())
    if buffers:
        torch._foreach_copy_(buffers, list(net.buffers()))
