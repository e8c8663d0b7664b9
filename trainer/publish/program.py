"""A generator as a `torch.export` program without its weights.

The weights lie once, in `model.safetensors`: in the program each is a single zero, expanded to the weight's shape, so
it knows names, shapes and types and weighs some kilobytes. The file holds no pickle: sample inputs, which torch.export
would write with torch.save, are left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from trainer.errors import PublishError
from trainer.families.arch import Arch
from trainer.families.base import AnyFamily

CHECKED_BATCHES = (1, 2, 5)
TOLERANCE = 1e-5


Inputs = Callable[[int], tuple[Tensor, ...]]
"""n → inputs of the net for a batch of n."""


def generator_inputs(family: AnyFamily, arch: Arch) -> Inputs:
    """n → (z_nZ,), or (z_nZ, labels_n) for a conditional model."""

    def inputs(n: int) -> tuple[Tensor, ...]:
        source = torch.Generator().manual_seed(n)
        z, labels = family.latents(arch, n, source), family.labels(arch, n, source)
        return (z,) if labels is None else (z, labels)

    return inputs


def encoder_inputs(arch: Arch) -> Inputs:
    """n → (images_nCHW,) in the arch's pixel range."""
    low, high = arch.pixel_range

    def inputs(n: int) -> tuple[Tensor, ...]:
        source = torch.Generator().manual_seed(n)
        return (torch.empty(n, arch.channels, arch.resolution, arch.resolution).uniform_(low, high, generator=source),)

    return inputs


def export_program(net: nn.Module, inputs: Inputs, path: Path) -> None:
    """Write `net` (on the CPU, in evaluation mode) to `path` (.pt2) with a dynamic batch dimension and empty weights."""
    example = inputs(2)  # a batch of 1 would be taken as a constant
    batch = torch.export.Dim("batch")
    program = torch.export.export(net, example, dynamic_shapes=tuple({0: batch} for _ in example))
    for name, weight in program.state_dict.items():
        empty = torch.zeros((), dtype=weight.dtype).expand(weight.shape)
        is_parameter = isinstance(weight, nn.Parameter)
        program.state_dict[name] = nn.Parameter(empty, requires_grad=False) if is_parameter else empty
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of the machine that trained
    program.example_inputs = None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No complete tensor found in the group")
        torch.export.save(program, path)


@torch.inference_mode()
def check_program(net: nn.Module, forward: Callable[..., Tensor], inputs: Inputs, family: str) -> None:
    """Raise PublishError unless the program that was read back gives the net's images for several batch sizes."""
    for n in CHECKED_BATCHES:
        given = inputs(n)
        expected, found = net(*given), forward(*given)
        if expected.shape != found.shape or not torch.allclose(expected, found, rtol=0.0, atol=TOLERANCE):
            off = (expected - found).abs().max() if expected.shape == found.shape else f"shape {list(found.shape)}"
            raise PublishError(
                f"the exported program of family {family} differs from the net for a batch of {n} ({off}); "
                "it is not published. Some operation of G depends on data or batch size when it is traced"
            )
