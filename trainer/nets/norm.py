"""Normalisation, and whether a net's output for one sample depends on the rest of the batch."""

from __future__ import annotations

from typing import Literal
from weakref import WeakKeyDictionary

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.nets.crossnorm import CrossReplicaNorm

__all__ = ["CrossReplicaNorm", "NormName", "norm2d", "uses_batch_statistics"]

NormName = Literal["batch", "layer", "none"]

_KNOWN: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def norm2d(kind: NormName, channels: int) -> nn.Module:
    """A norm for images [B, channels, H, W].

    `batch`: Ioffe & Szegedy 2015. `layer`: over C, H and W of each sample with a scale and a shift per channel, as
    Gulrajani et al. 2017 use it in the critic. `none`: the identity.
    """
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "layer":
        return nn.GroupNorm(1, channels)
    return nn.Identity()


def uses_batch_statistics(module: object) -> bool:
    """Whether a training forward mixes samples: then D(real ++ fake) is not D(real) ++ D(fake).

    True if any submodule is a batch norm, or says so with an attribute `batch_statistics = True` (cross-replica norms,
    minibatch features). It depends on the structure alone, not on the mode, and is looked up once for each module:
    losses ask every step. Anything but a module: False.
    """
    if not isinstance(module, nn.Module):
        return False
    if module not in _KNOWN:
        _KNOWN[module] = any(
            isinstance(part, _BatchNorm) or getattr(part, "batch_statistics", False) for part in module.modules()
        )
    return _KNOWN[module]
