"""All that must survive a restart, in one place: nets, optimisers, moving average, clock, and what others remember.

A checkpoint is `tensors()` and `meta()` and nothing else; `load` restores them bit for bit. Random numbers are pure
functions of the clock (`engine.random`) and so is the data cursor, so neither has state here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trainer.engine import ema as averaging
from trainer.engine.distributed import Distributed
from trainer.engine.players import Player
from trainer.engine.random import fold, seed_globals
from trainer.errors import BadSpecError, CheckpointError
from trainer.families.base import AnyFamily
from trainer.families.table import family as find_family
from trainer.spec import JobSpec

JSON = Any
"""What `json` can write: None, bool, int, float, str, lists and dicts of these."""


@dataclass(frozen=True)
class Correction:
    """What rolling back has changed: how often it was done, and the product of the factors on the learning rates."""

    count: int = 0
    lr_factor: float = 1.0


NO_CORRECTION = Correction()


@dataclass
class Clock:
    """Progress. step: generator updates done. batches: global real batches drawn, the data cursor. images: real images
    shown. updates: optimiser steps per player."""

    step: int = 0
    batches: int = 0
    images: int = 0
    updates: dict[str, int] = field(default_factory=dict)


class TrainState:
    """Players, moving average, clock, and `extras`: JSON that listeners or sentinels want to find again by name.

    correction: what roll backs have changed. It is not restored from a checkpoint, which may be older than they are.
    given: tensors of nets and averages, by their names in `tensors`, that a training begins with in place of its own initial
    ones; `engine.prepare` takes them.
    """

    def __init__(
        self,
        spec: JobSpec,
        family: AnyFamily,
        players: dict[str, Player],
        averages: dict[str, nn.Module],
        clock: Clock,
        correction: Correction = NO_CORRECTION,
    ) -> None:
        self.spec = spec
        self.family = family
        self.players = players
        self.averages = averages
        self.clock = clock
        self.correction = correction
        self.extras: dict[str, JSON] = {}
        self.given: dict[str, Tensor] = {}

    @classmethod
    def create(cls, spec: JobSpec, distributed: Distributed, correction: Correction = NO_CORRECTION) -> TrainState:
        """The state before the first step, the same on every rank. Raises BadSpecError for an architecture that can't be
        built, TrainingError if the ranks differ."""
        family = find_family(spec.arch.family)
        seed_globals(seed_after(spec.train.seed, correction), "init")
        try:
            nets = family.build(spec.arch)
        except ValueError as error:  # a size that a layer can't have
            raise BadSpecError(f"arch: family {spec.arch.family} can't be built so: {error}") from error
        if spec.train.channels_last:
            nets = {name: net.to(memory_format=torch.channels_last) for name, net in nets.items()}  # type: ignore[call-overload]
        averaged = spec.arch.published if spec.ema else ()
        averages = {name: averaging.copy_of(nets[name]).to(distributed.device) for name in averaged}
        players = {name: Player.create(name, nets[name], spec.optimizers[name], distributed) for name in nets}
        distributed.assert_same(nets, "after they were built")
        return cls(spec, family, players, averages, Clock(updates=dict.fromkeys(nets, 0)), correction)

    @property
    def seed(self) -> int:
        """Seeds the order of the data, latents, dropout: `train.seed`, and another after each roll back."""
        return seed_after(self.spec.train.seed, self.correction)

    @property
    def generator(self) -> nn.Module:
        """What is sampled, scored and published: `net("G")`."""
        return self.net("G")

    def net(self, name: str) -> nn.Module:
        """A player's moving average, ready to be used, if it has one; else the player's own net. Plain, float32."""
        return averaging.ready(self.averages[name]) if name in self.averages else self.players[name].net

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state by name, live and not copied: `net/G/…`, `optimizer/G/…/exp_avg`, `ema/G/…`."""
        found: dict[str, Tensor] = {}
        for name, player in self.players.items():
            found.update({f"net/{name}/{key}": value for key, value in player.net.state_dict().items()})
            found.update({f"optimizer/{name}/{key}": value for key, value in _optimizer_tensors(player).items()})
        for name, average in self.averages.items():
            found.update({f"ema/{name}/{key}": value for key, value in average.state_dict().items()})
        return found

    def meta(self) -> dict[str, JSON]:
        """The rest of the state as JSON, and the spec and versions that it belongs to."""
        return {
            "clock": asdict(self.clock),
            "extras": copy.deepcopy(self.extras),
            "rollbacks": self.correction.count,
            "spec": self.spec.model_dump(mode="json"),
            "torch": torch.__version__,
        }

    def load(self, tensors: dict[str, Tensor], meta: dict[str, JSON]) -> None:
        """Become the saved state, bit for bit. Raises CheckpointError, naming the tensors, if it is of another shape."""
        expected = {key: value for key, value in self.tensors().items() if not key.startswith("optimizer/")}
        saved = {key: value for key, value in tensors.items() if not key.startswith("optimizer/")}
        _check_names(expected, saved)
        optimizers = {name: _optimizer_state(player, tensors) for name, player in self.players.items()}
        with torch.no_grad():
            for key, value in expected.items():
                value.copy_(saved[key])
        for name, player in self.players.items():
            player.optimizer.load_state_dict(optimizers[name])
        self.clock = Clock(**meta["clock"])
        self.extras = copy.deepcopy(meta["extras"])


def seed_after(seed: int, correction: Correction) -> int:
    """The seed of a training after roll backs: a function of the spec's seed and of how many there were."""
    return fold(seed, "rollback", correction.count) if correction.count else seed


def _names(player: Player) -> list[str]:
    """Parameter names in the order the optimiser numbers them."""
    return [name for name, parameter in player.net.named_parameters() if parameter.requires_grad]


def _optimizer_tensors(player: Player) -> dict[str, Tensor]:
    state = player.optimizer.state_dict()["state"]
    names = _names(player)
    return {
        f"{names[index]}/{key}": value
        for index, entries in state.items()
        for key, value in entries.items()
        if isinstance(value, Tensor)
    }


def _optimizer_state(player: Player, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """A `state_dict` for the player's optimiser from the flat tensors. Nothing saved means no update was done yet."""
    prefix = f"optimizer/{player.name}/"
    numbers = {name: index for index, name in enumerate(_names(player))}
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if not key.startswith(prefix):
            continue
        name, _, entry = key.removeprefix(prefix).rpartition("/")
        if name not in numbers:
            raise CheckpointError(
                f"the checkpoint has optimiser state for {player.name}'s {name!r}, which does not exist"
            )
        parameter = player.parameters[numbers[name]]
        if value.ndim and value.shape != parameter.shape:
            shapes = f"{list(value.shape)} in the checkpoint, but the parameter is {list(parameter.shape)}"
            raise CheckpointError(f"{key} is {shapes}")
        # Fused optimisers walk through memory: it must lie as the parameter's does (channels last).
        own = torch.empty_like(parameter, dtype=value.dtype).copy_(value) if value.ndim else value.clone()
        state.setdefault(numbers[name], {})[entry] = own
    return {"state": state, "param_groups": player.optimizer.state_dict()["param_groups"]}


def _check_names(expected: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    problems = [f"{key} is missing" for key in sorted(expected.keys() - saved.keys())]
    problems += [f"{key} is not part of this model" for key in sorted(saved.keys() - expected.keys())]
    problems += [
        f"{key} is {_describe(saved[key])} in the checkpoint, but {_describe(value)} here"
        for key, value in sorted(expected.items())
        if key in saved and _describe(saved[key]) != _describe(value)
    ]
    if problems:
        raise CheckpointError(
            "the checkpoint does not fit this model, as another version wrote it: " + _shortened(problems)
        )


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _shortened(problems: Iterable[str], most: int = 5) -> str:
    listed = list(problems)
    more = f"; and {len(listed) - most} more" if len(listed) > most else ""
    return "; ".join(listed[:most]) + more
