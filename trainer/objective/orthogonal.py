"""Orthogonal regularisation of G (Brock et al. 2018, section 3.1 and Eq. 3): R = Σ ‖W Wᵀ ⊙ (1 − I)‖²_F over G's matrices.

Its gradient is known, 4 (W Wᵀ ⊙ (1 − I)) W, so no graph is built: it is added once an update to gradients that are
complete (accumulated over micro-batches, reduced over ranks), from equal weights on every rank.

W is what the authors' code takes: every parameter of two dimensions or more as a matrix [outputs, the rest]; the rows,
one for each filter (or label of an embedding), are pulled apart. The paper writes WᵀW for the same with filters as
columns. Their code takes the weights as they are, before spectral norm, and leaves out the shared class embedding: so do
we (`unpenalised` of the net). It adds 2 β (W Wᵀ ⊙ (1 − I)) W, half the formula's gradient; ours is the formula's, so
their β of 1e-4 is 5e-5 here.

Shape legend: N matrices of one shape, O outputs (rows), F the rest (columns).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

BATCHED = 2**20
"""Matrices of at most that many entries are multiplied together with others of their shape: small products cost their
launch, large ones only the copy that puts them side by side."""


def orthogonality(w_NOF: Tensor) -> tuple[Tensor, Tensor]:
    """Σ_N ‖W Wᵀ ⊙ (1 − I)‖²_F, a scalar, and its gradient [N, O, F].

    The smaller of W Wᵀ and Wᵀ W is formed: with d the squared norms of the rows, (W Wᵀ ⊙ (1 − I)) W = W (Wᵀ W) − d W,
    and the value is ‖Wᵀ W‖²_F − Σ d².
    """
    transposed = w_NOF.transpose(1, 2)
    if w_NOF.shape[1] <= w_NOF.shape[2]:
        gram = torch.bmm(w_NOF, transposed)
        gram.diagonal(dim1=1, dim2=2).zero_()
        return gram.square().sum(), torch.bmm(gram, w_NOF).mul_(4.0)
    gram, squares_NO = torch.bmm(transposed, w_NOF), w_NOF.square().sum(dim=2)
    gradient = torch.bmm(w_NOF, gram).sub_(squares_NO[:, :, None] * w_NOF).mul_(4.0)
    return gram.square().sum() - squares_NO.square().sum(), gradient


@torch.no_grad()
def regularise_(net: nn.Module, weight: float) -> Tensor:
    """Add weight · ∂R/∂W to the gradients of the net's matrices. Returns R, unweighted, a scalar on the device."""
    transposed = {id(part.weight) for part in net.modules() if isinstance(part, _ConvTransposeNd)}
    values = []
    for group in _groups((weights, id(weights) in transposed) for weights in matrices(net).values()):
        found = [_outputs_first(weights, swap).flatten(1) for weights, swap in group]
        value, gradient_NOF = orthogonality(torch.stack(found) if len(found) > 1 else found[0][None])
        values.append(value)
        for (weights, swap), gradient_OF in zip(group, gradient_NOF, strict=True):
            if weights.grad is None:
                weights.grad = torch.zeros_like(weights)
            gradient = _outputs_first(weights.grad, swap)
            gradient.add_(gradient_OF.view(gradient.shape), alpha=weight)
    return torch.stack(values).sum()


def matrices(net: nn.Module) -> dict[str, nn.Parameter]:
    """Parameter names and the parameters that are regularised: those of two dimensions or more that take gradients,
    but those that `net.unpenalised` names. Raises ValueError for a name there that isn't a parameter's."""
    left_out: tuple[str, ...] = getattr(net, "unpenalised", ())
    found = dict(net.named_parameters())
    if unknown := [name for name in left_out if name not in found]:
        raise ValueError(f"{type(net).__name__}.unpenalised names {', '.join(unknown)}, which is no parameter of it")
    return {
        name: parameter
        for name, parameter in found.items()
        if parameter.dim() >= 2 and parameter.requires_grad and name not in left_out
    }


def _groups(found: Iterable[tuple[nn.Parameter, bool]]) -> Iterator[list[tuple[nn.Parameter, bool]]]:
    """Small matrices of one shape together, large ones alone."""
    groups: defaultdict[tuple[int, ...], list[tuple[nn.Parameter, bool]]] = defaultdict(list)
    for number, (weights, swap) in enumerate(found):
        outputs, size = len(_outputs_first(weights, swap)), weights.numel()
        groups[(outputs, size) if size <= BATCHED else (outputs, size, number)].append((weights, swap))
    yield from groups.values()


def _outputs_first(weights: Tensor, swap: bool) -> Tensor:
    """A view whose first dimension is the outputs: transposed convolutions keep them in the second."""
    return weights.transpose(0, 1) if swap else weights
