"""Which derivatives a net's forms have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Inside, nets compute by forms whose gradient in their inputs can be differentiated once more, as penalties of a
    gradient ask for: what is computed stays the same.

    Fused attention has no second derivative on any device, so attention is a plain product of matrices here, which holds
    [queries, keys] for each row. Our own functions whose gradient is final (`once_differentiable`) are no part of a gradient
    by images: that of a spectral norm is by the weight, and a norm across ranks mixes images, which such penalties rule out.
    """
    with sdpa_kernel(SDPBackend.MATH):
        yield
