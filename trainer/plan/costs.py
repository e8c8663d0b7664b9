"""What one operation costs: multiplications and additions, and bytes that cross the memory bus.

FLOPs count multiply and add as two, of convolutions, matrix products and attention alone, as papers do; everything else is
bound by its bytes. Convolution's formulas are ours, because torch's (`torch.utils.flop_counter`) count the gradient of a grouped
convolution's weights `groups` times; the others are torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

aten = torch.ops.aten
Kind = Literal["convolution", "matmul", "attention", "other"]


@dataclass(frozen=True)
class Cost:
    """One operation. Equal ones are counted, not listed.

    width: what limits how well a processor can use its arithmetic units: for a convolution the fewer of its input and output
    channels per group, for a matrix product its smallest dimension; 0 for the rest.
    dtype: torch's name of the widest operand's type, e.g. `float32`.
    call: the operator and the form of its arguments (`replay.signature`); empty where nobody will time it.
    """

    kind: Kind
    flops: int
    bytes: int
    dtype: str
    width: int = 0
    call: str = ""


def cost(
    func: Any, args: Sequence[Any], kwargs: dict[str, Any], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> Cost:
    """The cost of a call of an ATen operator on these tensors. `inputs`, `outputs`: the tensors in its arguments and results."""
    moved = sum(map(nbytes, inputs)) + sum(map(nbytes, outputs))
    dtype = str(max((t.dtype for t in (*inputs, *outputs)), key=_rank)).removeprefix("torch.")
    packet = func._overloadpacket
    if packet in CONVOLUTIONS:
        flops, width = CONVOLUTIONS[packet](args, outputs)
        return Cost("convolution", flops, moved, dtype, width)
    if packet in PRODUCTS:
        return Cost("matmul", PRODUCTS[packet](args), moved, dtype, 1)
    if packet in ATTENTION:
        return Cost("attention", ATTENTION[packet](args), moved, dtype, inputs[0].shape[-1])
    if packet in flop_registry:
        out_val = outputs[0] if len(outputs) == 1 else tuple(outputs)
        flops = int(flop_registry[packet](*args, **kwargs, out_val=out_val))
        matrices = [t for t in inputs if t.dim() >= 2]
        return Cost("matmul", flops, moved, dtype, min((min(t.shape[-2:]) for t in matrices), default=1))
    return Cost("other", 0, moved, dtype)


def host_workspace(func: Any, args: Sequence[Any], outputs: Sequence[Tensor]) -> int:
    """Bytes that the operator takes in passing on a CPU: oneDNN's convolutions copy the weight into a layout of their own, and
    what is not channels_last, too. Measured with torch's profiler on 3 × 3 convolutions of both layouts."""
    packet = func._overloadpacket
    if packet is aten.convolution:
        x, weight, y, weights = args[0], args[1], outputs[0], 1
    elif packet is aten.convolution_backward:
        y, x, weight, weights = args[0], args[1], args[2], 2
    else:
        return 0
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return weights * nbytes(weight)
    return nbytes(weight) + nbytes(y) + (nbytes(x) if packet is aten.convolution_backward else 0)


def nbytes(tensor: Tensor) -> int:
    """Bytes that reading or writing all of the tensor moves; a tensor that was expanded is read once."""
    distinct = (size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride or size == 0)
    return prod(distinct) * tensor.element_size()


def _rank(dtype: torch.dtype) -> tuple[bool, int]:
    return dtype.is_floating_point, dtype.itemsize


def _convolution(args: Sequence[Any], outputs: Sequence[Tensor]) -> tuple[int, int]:
    """FLOPs and width of (input, weight, bias, stride, padding, dilation, transposed, output padding, groups)."""
    x, weight, transposed, groups = args[0], args[1], bool(args[6]), int(args[8])
    return _passes(1, x if transposed else outputs[0], weight), _width(weight, groups)


def _convolution_backward(args: Sequence[Any], outputs: Sequence[Tensor]) -> tuple[int, int]:
    """FLOPs and width of (grad_out, input, weight, bias sizes, stride, padding, dilation, transposed, …, groups, mask).

    The gradients of the input and of the weight take as many FLOPs each as the forward pass.
    """
    grad, x, weight, transposed, groups, mask = args[0], args[1], args[2], bool(args[7]), int(args[9]), args[10]
    return _passes(int(mask[0]) + int(mask[1]), x if transposed else grad, weight), _width(weight, groups)


def _passes(count: int, anchor: Tensor, weight: Tensor) -> int:
    """`anchor`: the side on which each position meets the whole kernel once (output; input if transposed)."""
    return 2 * count * anchor.numel() * prod(weight.shape[1:])


def _shapes(formula: Callable[..., int], tensors: Sequence[Tensor]) -> int:
    return int(formula(*(tensor.shape for tensor in tensors)))


def _width(weight: Tensor, groups: int) -> int:
    return int(min(weight.shape[0] // groups, weight.shape[1]))


CONVOLUTIONS: dict[Any, Callable[[Sequence[Any], Sequence[Tensor]], tuple[int, int]]] = {
    aten.convolution: _convolution,
    aten.convolution_backward: _convolution_backward,
}
PRODUCTS: dict[Any, Callable[[Sequence[Any]], int]] = {
    aten.mv: lambda args: 2 * args[0].numel(),
    aten.addmv: lambda args: 2 * args[1].numel(),
    aten.dot: lambda args: 2 * args[0].numel(),
    aten.vdot: lambda args: 2 * args[0].numel(),
}
ATTENTION: dict[Any, Callable[[Sequence[Any]], int]] = {
    aten._scaled_dot_product_flash_attention_for_cpu: lambda args: _shapes(sdpa_flop_count, args[:3]),
    aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda args: _shapes(sdpa_backward_flop_count, args[:4]),
}
