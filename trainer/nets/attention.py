"""Self-attention over the pixels of a map.

Shape legend: B batch, C channels, H height, W width, N = H · W queries, M = N / 4 keys.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, pad, scaled_dot_product_attention

WIDTH = 16
"""Queries, keys and values are padded to a multiple of it."""
Wrap = Callable[[nn.Conv2d], nn.Module]


class SelfAttention(nn.Module):
    """x_BCHW → x + γ · out(softmax(θᵀφ) g) of the same shape (Zhang et al. 2019, Eq. 1–3).

    As in BigGAN, keys φ (C / 8 channels) and values g (C / 2) are max-pooled 2 × 2, no scale divides the products, and the
    1 × 1 convolutions have no bias. γ starts at 0, so that the layer starts as the identity. C is at least 8, H and W even.
    """

    def __init__(self, channels: int, wrap: Wrap = lambda layer: layer) -> None:
        """channels: C. wrap: what is done to each of the convolutions, e.g. `spectral`. Raises ValueError if C < 8."""
        super().__init__()
        if channels < 8:
            raise ValueError(f"self-attention of {channels} channels has no keys; use 8 or more")
        self.theta = wrap(nn.Conv2d(channels, channels // 8, 1, bias=False))
        self.phi = wrap(nn.Conv2d(channels, channels // 8, 1, bias=False))
        self.g = wrap(nn.Conv2d(channels, channels // 2, 1, bias=False))
        self.out = wrap(nn.Conv2d(channels // 2, channels, 1, bias=False))
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        theta, phi, g = self.theta(x_BCHW), max_pool2d(self.phi(x_BCHW), 2), max_pool2d(self.g(x_BCHW), 2)
        mixed = attend(theta.flatten(2).mT, phi.flatten(2).mT, g.flatten(2).mT)
        change: Tensor = self.out(mixed.mT.reshape(x_BCHW.shape[0], -1, *x_BCHW.shape[2:]))
        return x_BCHW + self.gamma * change


def attend(query_BNK: Tensor, key_BMK: Tensor, value_BMV: Tensor) -> Tensor:
    """softmax(query · keyᵀ) · value, [B, N, V], without holding the [B, N, M] matrix.

    The kernels that do without it want contiguous rows, queries as wide as values, and widths that fill a vector register
    (the CPU's is slower at a width of 8 than at 16). Zeros added to queries and keys change no product, and
    those added to values are cut off again.
    """
    values = value_BMV.shape[2]
    width = -(-values // WIDTH) * WIDTH
    inputs = (pad(x, (0, width - x.shape[2])) for x in (query_BNK, key_BMK, value_BMV))
    query, key, value = (x[:, None].contiguous() for x in inputs)  # one head
    mixed: Tensor = scaled_dot_product_attention(query, key, value, scale=1.0).squeeze(1)
    return mixed[..., :values]
