"""State dicts of the authors' BigGAN-PyTorch code into nets of ours: names, shapes, spectral norms. G's and D's alike.

Their evaluation iterates a spectral norm once from the saved `u0`, ours reads u and v, so u and v are set to what that
iteration gives: the weights in use are the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.functional import normalize

from trainer.nets.spectral import Spectral

LISTED = 20
"""Differences that an error lists."""
NEEDLESS = re.compile(r"\.(sv\d+|u[1-9]\d*|num_batches_tracked|accumulation_counter)$")
"""What their evaluation doesn't read: logged singular values, the vectors of others than the first, counters."""


def is_normalised(tensors: Mapping[str, Tensor]) -> bool:
    """Whether their net has spectral norms (`--G_param SN`, their default; D has them always)."""
    return any(name.endswith(".u0") for name in tensors)


def filled(net: nn.Module, names: Mapping[str, str | None], tensors: Mapping[str, Tensor], what: str) -> nn.Module:
    """The net, which may be on the meta device, with their weights, in evaluation mode.

    names: ours → theirs; None: they have none that is read. Theirs without a spectral norm become layers of σ = 1.
    what: the net, for errors. Raises ValueError that lists every name and shape that differs, or names a tensor with which its
    layer has no spectral norm.
    """
    ours, normalised = net.state_dict(), is_normalised(tensors)
    used = {name: their for name, their in names.items() if their is not None and (normalised or name[-2:] != ".u")}
    expected = {
        their: (1, *ours[name].shape) if name.endswith(".u") else tuple(ours[name].shape)
        for name, their in used.items()
    }
    if problems := differences(expected, {name: tuple(value.shape) for name, value in tensors.items()}):
        more = f"; and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
        raise ValueError(f"differs from {what}: {'; '.join(problems[:LISTED])}{more}")
    state = {
        name: tensors[used[name]].reshape(value.shape).clone()
        if name in used
        else torch.zeros_like(value, device="cpu")
        for name, value in ours.items()
    }
    net.load_state_dict(state, assign=True)
    for name, layer in net.named_modules():
        if not isinstance(layer, Spectral):
            continue
        if normalised:
            _iterate(layer, names[f"{name}.weight"] or name)
        else:
            layer.converge()
            layer.v.div_(layer.sigma)  # no unit vector: σ̂ = uᵀWv is 1, and so W is what the layer computes with
            layer.sigma.fill_(1.0)
    return net.eval().requires_grad_(False)


def _iterate(layer: Spectral, weight: str) -> None:
    """What their evaluation does before each pass. Raises ValueError, naming the tensor, where that gives no norm."""
    if not bool(layer.u.any()):
        raise ValueError(
            f"{weight.removesuffix('weight')}u0 is all zeros, so its layer has no spectral norm: the file is not as their "
            "training writes it; give another, or fill u0 with random numbers and run the net in training mode for some passes"
        )
    layer.u.copy_(normalize(layer.u, dim=0))
    layer.iterate()
    if not float(layer.sigma) > 0.0:
        raise ValueError(f"{weight} has the spectral norm {float(layer.sigma):g} by its u0, and can't be divided by it")


def unlike(tensors: Mapping[str, Tensor], dims: Mapping[str, int]) -> list[str]:
    """The names that are missing, or whose tensors have not so many dimensions."""
    return [name for name, count in dims.items() if name not in tensors or tensors[name].dim() != count]


def differences(expected: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]) -> list[str]:
    """What is missing, unknown, or of another shape."""
    found = [f"{name} is missing" for name in expected if name not in given]
    found += [f"{name} is not known" for name in given if name not in expected]
    shared = [name for name in expected if name in given and expected[name] != given[name]]
    return found + [f"{name} is {list(given[name])}, not {list(expected[name])}" for name in shared]


def reasons(error: ValidationError) -> str:
    """Why an arch can't be built, in a line."""
    return "; ".join(f"{'.'.join(map(str, one['loc']))} {one['msg']}".strip() for one in error.errors())
