"""σ₀, the greatest singular value of a weight matrix, which explodes when a training collapses (Brock et al. 2018, section 4).

Shape legend: M, N sides of the matrix, N the smaller; K Krylov vectors.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

VECTORS = 10
"""Krylov vectors. Lanczos with ten is within 1 % of σ₀ on weights of real nets; plain power iteration would need
hundreds where the greatest values lie close together."""


def matrices(net: nn.Module) -> dict[str, Tensor]:
    """The net's weight matrices by parameter name, in the order of their definition; kernels as [first side, rest].

    These are the raw weights: what spectral norm divides by σ is a parameter too. Embeddings are tables and left out.
    """
    tables = {id(module.weight) for module in net.modules() if isinstance(module, nn.Embedding)}
    return {
        name: parameter.detach().flatten(1)
        for name, parameter in net.named_parameters()
        if parameter.ndim >= 2 and min(parameter.flatten(1).shape) > 1 and id(parameter) not in tables
    }


def first(net: nn.Module) -> dict[str, Tensor]:
    """The first of `matrices`, the layer that the paper watches; empty if there is none."""
    return dict(list(matrices(net).items())[:1])


@torch.no_grad()
def top_singular_values(weights: Mapping[str, Tensor]) -> dict[str, float]:
    """σ₀ of each matrix [M, N], float32; NaN where the matrix isn't finite. Waits for the device once.

    Lanczos on WᵀW from a fixed start vector, so the same weights give the same number on every machine's every run,
    and nothing has to be remembered between two calls.
    """
    if not weights:
        return {}
    # To a greatest entry of 1: squares of large weights would not fit float32.
    scales = torch.stack([weight.float().abs().max().clamp_min(1e-30) for weight in weights.values()])
    squares = [_projected(weight.float() / scale) for weight, scale in zip(weights.values(), scales, strict=True)]
    found = torch.cat([torch.stack(squares).flatten(), scales]).cpu().double()
    squares_nKK = found[: -len(weights)].reshape(-1, VECTORS, VECTORS)
    sizes = found[-len(weights) :].tolist()
    return {name: size * _root(square) for name, size, square in zip(weights, sizes, squares_nKK, strict=True)}


def _projected(weight: Tensor) -> Tensor:
    """(WV)ᵀ(WV), [VECTORS, VECTORS], for an orthonormal Krylov basis V of WᵀW; its greatest eigenvalue is near σ₀²."""
    w_MN = weight if weight.shape[0] >= weight.shape[1] else weight.T
    count = min(VECTORS, w_MN.shape[1])
    start = torch.randn(w_MN.shape[1], generator=torch.Generator().manual_seed(0)).to(w_MN.device)
    v_N = start / start.norm()
    basis, images = [v_N], [w_MN @ v_N]
    for _ in range(count - 1):
        v_N = w_MN.T @ images[-1]
        size = v_N.norm()
        stacked_NK = torch.stack(basis, dim=1)
        for _ in range(2):  # once leaves rounding errors that bring found directions back
            v_N = v_N - stacked_NK @ (stacked_NK.T @ v_N)
        left = v_N.norm()
        # Nothing is left of it once the basis spans all that the start vector reaches.
        v_N = torch.where(left > 1e-5 * size, v_N / left, torch.zeros_like(v_N))
        basis.append(v_N)
        images.append(w_MN @ v_N)
    found_KM = torch.stack(images)
    square = torch.zeros(VECTORS, VECTORS, device=weight.device)
    square[:count, :count] = found_KM @ found_KM.T
    return square


def _root(square: Tensor) -> float:
    """The root of the greatest eigenvalue; NaN for a matrix that isn't finite, which LAPACK refuses."""
    if not bool(square.isfinite().all()):
        return float("nan")
    return float(torch.linalg.eigvalsh(square)[-1].clamp_min(0.0).sqrt())
