"""Maxout (Goodfellow et al. 2013, Eq. 1).

Shape legend: B batch, F input features, U units, P pieces.
"""

from __future__ import annotations

from torch import Tensor, nn


class Maxout(nn.Module):
    """x_BF → h_BU, h_u = max over p of (W_up · x + b_up)."""

    def __init__(self, features: int, units: int, pieces: int) -> None:
        super().__init__()
        self.units = units
        self.pieces = pieces
        self.linear = nn.Linear(features, units * pieces)

    def forward(self, x_BF: Tensor) -> Tensor:
        pieces_BUP: Tensor = self.linear(x_BF).unflatten(1, (self.units, self.pieces))
        return pieces_BUP.amax(dim=2)
