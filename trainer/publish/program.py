"""A generator as a `torch.export` program without its weights.

The weights lie once, in `model.safetensors`: in the program each is a single zero, expanded to the weight's shape, so
it knows names, shapes and types and weighs some kilobytes. The file holds no pickle: sample inputs, which torch.export
would write with torch.save, are left out.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from trainer.errors import TrainingError
from trainer.families.arch import Arch
from trainer.families.base import AnyFamily

CHECKED_BATCHES = (1, 2, 5)
TOLERANCE = 1e-5


def example_inputs(family: AnyFamily, arch: Arch, n: int) -> tuple[Tensor, ...]:
    """(z_nZ,), or (z_nZ, labels_n) for a conditional model."""
    source = torch.Generator().manual_seed(n)
    z, labels = family.latents(arch, n, source), family.labels(arch, n, source)
    return (z,) if labels is None else (z, labels)


def export_program(net: nn.Module, family: AnyFamily, arch: Arch, path: Path) -> None:
    """Write `net` (on the CPU, in evaluation mode) to `path` (.pt2) with a dynamic batch dimension and empty weights."""
    inputs = example_inputs(family, arch, 2)  # a batch of 1 would be taken as a constant
    batch = torch.export.Dim("batch")
    program = torch.export.export(net, inputs, dynamic_shapes=tuple({0: batch} for _ in inputs))
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
def check_program(net: nn.Module, loaded: nn.Module | object, family: AnyFamily, arch: Arch) -> None:
    """Raise TrainingError unless the program that was read back gives the net's images for several batch sizes."""
    forward = getattr(loaded, "forward")  # noqa: B009 — a Generator of the package
    for n in CHECKED_BATCHES:
        inputs = example_inputs(family, arch, n)
        expected, found = net(*inputs), forward(*inputs)
        if expected.shape != found.shape or not torch.allclose(expected, found, rtol=0.0, atol=TOLERANCE):
            off = (expected - found).abs().max() if expected.shape == found.shape else f"shape {list(found.shape)}"
            raise TrainingError(
                f"the exported program of family {arch.family} differs from the net for a batch of {n} ({off}); "
                "it is not published. Some operation of G depends on data or batch size when it is traced"
            )
