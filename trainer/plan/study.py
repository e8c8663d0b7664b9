"""One worker of a job on fake tensors: the family's nets, phases and optimisers as they are, with nothing computed or allocated.

The process group is torch's fake one, so collectives of the nets (cross-replica batch norm) run and are counted for any number of
workers. DistributedDataParallel is not built; what it holds and sends is added: with `gradient_as_bucket_view` its buckets are as
large as the parameters, live from the start, and become the gradients once an update's last micro-batch is reduced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._pytree import tree_map

from trainer.engine.distributed import Distributed, Forward
from trainer.engine.players import Player, only
from trainer.engine.step import Rows
from trainer.families.table import family as find_family
from trainer.objective.phases import Nets, Phase
from trainer.plan.costs import Cost
from trainer.plan.replay import Call
from trainer.plan.tape import GRADIENTS, Tape
from trainer.spec import JobSpec

FORWARD, BACKWARD, UPDATE = "forward", "backward", "update"


class Imagined(Distributed):
    """A place among `world` workers that are not there."""

    def __init__(self, world: int, *, bf16: bool) -> None:
        self.rank, self.world, self.device = 0, world, torch.device("cpu")
        self._bf16 = bf16

    def prepare(self, net: nn.Module) -> nn.Module:
        """As Accelerate prepares it, without DDP: under autocast, results in float32."""
        return Autocast(Forward(net)) if self._bf16 else Forward(net)


class Autocast(nn.Module):
    """A net's forward in bfloat16 where autocast says so; what it returns is float32."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any, **flags: Any) -> Any:
        """The net's result."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = self.inner(*args, **flags)
        return tree_map(lambda x: x.float() if isinstance(x, Tensor) and x.is_floating_point() else x, result)


@dataclass(frozen=True)
class Update:
    """One update of a phase's players.

    costs: operations of one micro-batch under "forward" and "backward", of hooks and optimisers under "update".
    sent: bytes and calls of the nets' own collectives in one micro-batch, by the same names.
    peak: bytes by part at the update's fullest moment.
    """

    costs: Mapping[str, Counter[Cost]]
    sent: Mapping[str, Counter[str]]
    peak: Mapping[str, int]

    @property
    def bytes(self) -> int:
        """All of the peak."""
        return sum(self.peak.values())


class Study:
    """A worker's state before a step in the middle of the training. Use `studied`."""

    def __init__(self, spec: JobSpec, world: int, *, keep_calls: bool = False, host: bool = False) -> None:
        self.spec, self.world, self.local = spec, world, spec.local_batch(world)
        self._keep, self._host = keep_calls, host
        self.calls: dict[str, Call] = {}
        """Of each distinct operation that was traced one call, if they are kept."""
        self._traces: dict[tuple[str, int, int, bool], Update] = {}
        self.family = find_family(spec.arch.family)
        self.phases = self.family.phases(spec)
        place = Imagined(world, bf16=spec.train.precision == "bf16")
        nets = self.family.build(spec.arch)
        self.players = {name: Player.create(name, net, spec.optimizers[name], place) for name, net in nets.items()}
        for player in self.players.values():
            player.set_rates(
                spec.train.images, spec.train.images, 0
            )  # momentum as at the end, so that its buffer is there
            for parameter in player.parameters:
                parameter.grad = torch.empty_like(parameter)
            player.optimizer.step()
            player.optimizer.zero_grad(set_to_none=True)

    def at(self, spec: JobSpec, world: int) -> Study:
        """This study of the same nets on another number of workers, or with other micro-batches. What was traced is kept.

        Raises ValueError if one of the numbers is 1 and the other is not: the process group is another.
        """
        if (world > 1) != (self.world > 1):
            raise ValueError(f"a study of {self.world} worker(s) can't become one of {world}")
        self.spec, self.world, self.local = spec, world, spec.local_batch(world)
        return self

    def parameters(self) -> dict[str, int]:
        """Numbers of trained parameters by player."""
        return {name: sum(p.numel() for p in player.net.parameters()) for name, player in self.players.items()}

    def bytes_of(self, *names: str) -> int:
        """Bytes of the players' parameters that take gradients."""
        return sum(p.numel() * p.element_size() for name in names for p in self.players[name].parameters)

    def averaged(self) -> int:
        """Bytes of the moving averages."""
        names = self.spec.arch.published if self.spec.ema is not None else ()
        return sum(t.numel() * t.element_size() for name in names for t in self.players[name].net.state_dict().values())

    def update(self, phase: Phase, step: int, micro: int) -> Update:
        """An update of the phase at step number `step` with micro-batches of `micro` images, at most this worker's share."""
        key = (phase.name, step, micro, micro < self.local)
        if key not in self._traces:
            self._traces[key] = self._trace(phase, step, micro)
        found = self._traces[key]
        share = found.peak["batch"] * self.local // micro  # the worker holds all of its rows
        return replace(found, peak={**found.peak, "batch": share})

    def _trace(self, phase: Phase, step: int, micro: int) -> Update:
        tape, rows = Tape(keep_calls=self._keep, host=self._host), self._rows(micro)
        self._hold(tape, phase, rows, accumulating := micro < self.local)
        stepping = [self.players[name] for name in phase.players]
        nets: Nets = {
            name: player.wrapped if player in stepping else player.frozen for name, player in self.players.items()
        }
        hooks = [
            parameter.register_post_accumulate_grad_hook(self._reduced(tape, accumulating))  # type: ignore[no-untyped-call]
            for player in stepping
            for parameter in player.parameters
        ]
        with only(self.players, phase.players):
            with tape:
                with tape.section(FORWARD):
                    total = phase.loss(nets, rows.cut(slice(0, micro), self.spec.arch.pixel_range, step)).total
                with tape.section(BACKWARD):
                    total.backward()  # type: ignore[no-untyped-call]
                del total
            self._apply(tape, phase, stepping)
        for hook in hooks:
            hook.remove()
        for player in self.players.values():
            player.optimizer.zero_grad(set_to_none=True)
        self.calls |= tape.calls
        return Update(tape.costs, tape.sent, tape.peak)

    def _apply(self, tape: Tape, phase: Phase, stepping: list[Player]) -> None:
        for player in stepping:
            for parameter in player.parameters:
                if parameter.grad is None:  # in a bucket, or of no use to this loss
                    parameter.grad = torch.empty_like(parameter)
            with tape, tape.section(UPDATE):
                if correct := phase.before_update.get(player.name):
                    correct(player.net)
                player.optimizer.step()
                with torch.no_grad():
                    for change in phase.after_update:
                        change(player.net)

    def _hold(self, tape: Tape, phase: Phase, rows: Rows, accumulating: bool) -> None:
        """What is there before the update's (last) micro-batch, by part."""
        for name, player in self.players.items():
            tape.hold("weights", (*player.net.parameters(), *player.net.buffers()))
            states = player.optimizer.state.values()
            tape.hold("optimizer", [v for state in states for v in state.values() if isinstance(v, Tensor)])
            if name in phase.players and accumulating:
                for parameter in player.parameters:
                    parameter.grad = torch.empty_like(parameter)
                tape.hold(GRADIENTS, [p.grad for p in player.parameters if p.grad is not None])
            elif name not in phase.players and self.world == 1:
                tape.reserve(GRADIENTS, self.bytes_of(name))  # of its own last update
        if self.world > 1:
            tape.reserve("buckets", self.bytes_of(*self.players))
        tape.reserve("ema", self.averaged())
        tape.hold("batch", [t for t in (rows.real, rows.labels, rows.z, rows.fake_labels) if t is not None])

    def _rows(self, rows: int) -> Rows:
        """Inputs of so many rows."""
        arch = self.spec.arch
        labels = [torch.empty(rows, dtype=torch.int64) if arch.conditional else None for _ in range(2)]
        images = torch.empty(rows, arch.channels, arch.resolution, arch.resolution, dtype=torch.uint8)
        return Rows(images, labels[0], torch.empty(rows, arch.latent.width), labels[1])

    def _reduced(self, tape: Tape, accumulating: bool) -> Any:
        """What becomes of a gradient once it is complete: one worker keeps it, DDP copies it into its bucket."""

        def keep(parameter: Tensor) -> None:
            if parameter.grad is None:
                return
            if self.world > 1 and not accumulating:
                parameter.grad = None
            else:
                tape.hold(GRADIENTS, [parameter.grad])

        return keep


@contextmanager
def studied(spec: JobSpec, world: int, *, keep_calls: bool = False, host: bool = False) -> Iterator[Study]:
    """A study, with the fake process group around it. keep_calls: so that each operation can be timed. host: on CPUs.

    Raises RuntimeError in a process that has a process group.
    """
    if world > 1:
        if dist.is_initialized():
            raise RuntimeError("a plan for several workers needs a process without a process group")
        from torch.testing._internal.distributed.fake_pg import FakeStore

        dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=world)
    try:
        with torch.random.fork_rng(devices=[]), FakeTensorMode(allow_non_fake_inputs=True):
            yield Study(spec, world, keep_calls=keep_calls, host=host)
    finally:
        if world > 1:
            dist.destroy_process_group()
