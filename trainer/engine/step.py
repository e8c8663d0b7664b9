"""One step: the family's phases in order. Nothing here knows a family, a loss or a penalty by name, and nothing waits
for the device.

Shape legend: B global batch, b rows of this rank, C channels, H height, W width, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainer.engine import ema as averaging
from trainer.engine.distributed import Distributed
from trainer.engine.metrics import REPLACED, Means, Stopwatch
from trainer.engine.pixels import from_bytes
from trainer.engine.players import Player, only
from trainer.engine.random import latents, seed_globals
from trainer.engine.state import TrainState
from trainer.objective.phases import Batch, Nets, Phase

if TYPE_CHECKING:
    from trainer.data.stream import RealBatch


@dataclass(frozen=True)
class Rows:
    """A phase's inputs for this rank, on the device; cut into micro-batches by `cut`."""

    real: Tensor
    labels: Tensor | None
    z: Tensor
    fake_labels: Tensor | None

    def cut(self, rows: slice, pixel_range: tuple[float, float], step: int) -> Batch:
        """One micro-batch; only its images are expanded from bytes."""
        return Batch(
            real=from_bytes(self.real[rows], pixel_range),
            labels=None if self.labels is None else self.labels[rows],
            z=self.z[rows],
            fake_labels=None if self.fake_labels is None else self.fake_labels[rows],
            step=step,
        )


class Stepper:
    """Runs steps on a state. `batches` yields this rank's rows of global batch `clock.batches`, and the ones after."""

    def __init__(
        self, state: TrainState, distributed: Distributed, batches: Iterator[RealBatch], means: Means, watch: Stopwatch
    ) -> None:
        spec = state.spec
        self.state, self.distributed, self.batches = state, distributed, batches
        self.means, self.watch = means, watch
        self.phases = state.family.phases(spec)
        self.local = spec.local_batch(distributed.world)
        self.rows = slice(distributed.rank * self.local, (distributed.rank + 1) * self.local)
        self._real: tuple[Tensor, Tensor | None] | None = None

    def step(self) -> None:
        """One step: every phase as often as it repeats, then the moving average. Advances the clock."""
        state, clock = self.state, self.state.clock
        self._real = None
        for phase in self.phases:
            for _ in range(phase.repeats(clock.step)):
                if phase.fresh_data or self._real is None:
                    with self.watch.part("data"):
                        self._real = self._next_real()
                self._update(phase, *self._real)
        clock.step += 1
        if state.spec.ema is not None:
            warm = clock.images >= state.spec.ema.start_images
            with self.watch.part("optimizer"):
                for name, average in state.averages.items():
                    averaging.update(average, state.players[name].net, state.spec.ema.decay if warm else 0.0)

    def _next_real(self) -> tuple[Tensor, Tensor | None]:
        found, device = next(self.batches), self.distributed.device
        self.state.clock.batches += 1
        self.state.clock.images += self.state.spec.train.batch
        if self.state.spec.data.on_bad_shard == "skip":
            self.means.count(REPLACED, found.replaced)
        labels = found.labels.to(device, non_blocking=True) if self.state.spec.arch.conditional else None
        return found.images.to(device, non_blocking=True), labels

    def _update(self, phase: Phase, real: Tensor, labels: Tensor | None) -> None:
        """One update of the phase's players: gradients over the micro-batches, then the optimisers."""
        players = [self.state.players[name] for name in phase.players]
        with only(self.state.players, phase.players):
            with self.watch.part("compute"):
                for player in players:
                    player.optimizer.zero_grad(set_to_none=True)
                self._accumulate(phase, players, self._inputs(phase, real, labels))
            with self.watch.part("optimizer"):
                for player in players:
                    if correct := phase.before_update.get(player.name):
                        self.means.add(correct(player.net))
                    self._apply(phase, player)

    def _inputs(self, phase: Phase, real: Tensor, labels: Tensor | None) -> Rows:
        """Latents for all of this rank's rows, before they are split; torch's global generators for the rest."""
        spec, device = self.state.spec, self.distributed.device
        number = self.state.clock.updates[phase.players[0]]
        z, fake_labels = latents(
            self.state.family,
            spec.arch,
            spec.train.batch,
            self.rows,
            seed=self.state.seed,
            phase=phase.name,
            number=number,
        )
        seed_globals(self.state.seed, "global", phase.name, number, self.distributed.rank)
        fake_labels = None if fake_labels is None else fake_labels.to(device, non_blocking=True)
        return Rows(real, labels, z.to(device, non_blocking=True), fake_labels)

    def _accumulate(self, phase: Phase, players: list[Player], inputs: Rows) -> None:
        """Gradients of the mean loss over this rank's rows; averaged over the ranks with the last micro-batch."""
        nets: Nets = {
            name: player.wrapped if player in players else player.frozen for name, player in self.state.players.items()
        }
        arch, step = self.state.spec.arch, self.state.clock.step
        micro = min(self.state.spec.train.micro(phase.players) or self.local, self.local)
        for first in range(0, self.local, micro):
            rows = slice(first, min(first + micro, self.local))
            share = (rows.stop - rows.start) / self.local
            with ExitStack() as stack:
                if rows.stop < self.local:
                    for player in players:
                        stack.enter_context(self.distributed.no_sync(player.wrapped))
                loss = phase.loss(nets, inputs.cut(rows, arch.pixel_range, step))
                (loss.total * share if share < 1.0 else loss.total).backward()  # type: ignore[no-untyped-call]
            self.means.add(loss.metrics, share)

    def _apply(self, phase: Phase, player: Player) -> None:
        spec, clock = self.state.spec, self.state.clock
        factor = self.state.correction.lr_factor
        player.set_rates(clock.images, spec.train.images, clock.updates[player.name], factor)
        player.optimizer.step()
        clock.updates[player.name] += 1
        with torch.no_grad():
            for change in phase.after_update:
                change(player.net)
