"""The nets of a checkpoint, for analysis without an engine: no optimisers, no data, on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from trainer.checkpoint.files import read
from trainer.engine import ema as averaging
from trainer.errors import CheckpointError
from trainer.families.base import AnyFamily
from trainer.families.table import family as find_family
from trainer.spec import JobSpec, SpecError
from trainer.spec.files import parse_spec


@dataclass(frozen=True)
class Loaded:
    """Float32 nets in evaluation mode that take no gradient.

    nets: every player's, as trained. averages: the moving averages by player; empty for a spec without `ema`.
    """

    spec: JobSpec
    family: AnyFamily
    nets: dict[str, nn.Module]
    averages: dict[str, nn.Module]

    def net(self, name: str) -> nn.Module:
        """What is sampled and published of a player: its average, ready to be used, if there is one; else the net.
        Raises KeyError."""
        return averaging.ready(self.averages[name]) if name in self.averages else self.nets[name]


def load_nets(path: Path) -> Loaded:
    """The nets of the checkpoint folder `path` (`latest(directory)` finds the newest).

    Raises CheckpointError if it is damaged, or of a family or spec that this version can't read.
    """
    tensors, meta = read(path)
    try:
        spec = parse_spec(meta["spec"])
    except (SpecError, KeyError) as error:
        raise CheckpointError(f"{path} has a spec that this version can't read: {error}") from error
    family = find_family(spec.arch.family)
    averaged = {key.split("/")[1] for key in tensors if key.startswith("ema/")}
    with torch.random.fork_rng(devices=[]):  # building draws initial weights from the global generator
        nets = family.build(spec.arch)
        averages = {name: net for name, net in family.build(spec.arch).items() if name in averaged}
    for kind, group in (("net", nets), ("ema", averages)):
        for name, net in group.items():
            _fill(net, {k: v for k, v in tensors.items() if k.startswith(f"{kind}/{name}/")}, f"{kind}/{name}/", path)
    return Loaded(spec, family, nets, averages)


def _fill(net: nn.Module, saved: dict[str, Tensor], prefix: str, path: Path) -> None:
    try:
        net.load_state_dict({key.removeprefix(prefix): value for key, value in saved.items()})
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit this version's nets: {error}") from error
    net.eval().requires_grad_(False)
