"""The parts of nets, built or on the meta device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from trainer.families.table import family
from trainer.origin.fit import Part
from trainer.spec import FieldError, JobSpec, SpecError

DRAWS = frozenset({"normal_", "uniform_"})


def parts(nets: Mapping[str, nn.Module]) -> dict[str, Part]:
    """By `PLAYER/NAME`, in the nets' order."""
    found: dict[str, Part] = {}
    for player, net in nets.items():
        trained = {name for name, _ in net.named_parameters(remove_duplicate=False)}
        for name, value in net.state_dict().items():
            found[f"{player}/{name}"] = Part(tuple(value.shape), name in trained)
    return found


class _Undrawn(TorchFunctionMode):
    """Initial weights aren't drawn: on the meta device torch would load its compiler for that, which takes seconds."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init" or getattr(func, "__name__", "") in DRAWS:
            return args[0] if args else (kwargs or {})["tensor"]
        func = torch.empty_like if func is torch.randn_like else func
        return func(*args, **(kwargs or {}))


def expected(spec: JobSpec) -> dict[str, Part]:
    """Of the spec's nets, without allocating them. Raises SpecError for an architecture that can't be built."""
    try:
        with torch.device("meta"), _Undrawn():
            return parts(family(spec.arch.family).build(spec.arch))
    except ValueError as error:  # a size that a layer can't have
        raise SpecError([FieldError(path="arch", message=f"can't be built so: {error}")]) from error
