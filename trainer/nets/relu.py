"""ReLU before a convolution, with a gradient that takes no memory of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def relu_for_conv(x: Tensor, *, inplace: bool = False) -> Tensor:
    """max(x, 0), for a result that only convolutions or poolings take: what they hand back as its gradient is a new tensor
    that nobody else holds, so it is masked in place. (The two inputs of a sum are handed one gradient: not for those. Nor may
    the gradient of the result itself be asked for.) x: any shape.

    inplace: x itself becomes the result.
    """
    y: Tensor = _Relu.apply(x, inplace)  # type: ignore[no-untyped-call]
    return y


class _Relu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, inplace: bool) -> Tensor:
        y = x.relu_() if inplace else x.relu()
        if inplace:
            ctx.mark_dirty(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of the gradient is wanted
            return torch.ops.aten.threshold_backward(dy, y, 0), None
        return torch.ops.aten.threshold_backward.grad_input(dy, y, 0, grad_input=dy), None
