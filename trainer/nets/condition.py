"""Labels as inputs of a net.

Shape legend: B batch, C channels, F features, H height, W width, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor


def one_hot(labels_B: Tensor, classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """y_BK with 1 at the label. Unlike `F.one_hot` it checks no range, so it never waits for the device and exports."""
    return (labels_B[:, None] == torch.arange(classes, device=labels_B.device)).to(dtype)


def append_features(x_BF: Tensor, y_BK: Tensor | None) -> Tensor:
    """[x, y] along the features; x itself without y."""
    return x_BF if y_BK is None else torch.cat([x_BF, y_BK.to(x_BF.dtype)], dim=1)


def append_maps(x_BCHW: Tensor, y_BK: Tensor | None) -> Tensor:
    """x with one constant map per entry of y behind its channels (DCGAN's `conv_cond_concat`); x itself without y."""
    if y_BK is None:
        return x_BCHW
    maps = y_BK.to(x_BCHW.dtype)[:, :, None, None].expand(-1, -1, x_BCHW.shape[2], x_BCHW.shape[3])
    return torch.cat([x_BCHW, maps], dim=1)
