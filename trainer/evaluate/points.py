"""Training on points of the line or the plane instead of images: the product's own phases, losses, penalties and
optimisers, where the truth can be computed.

A point set is [B, D, 1, 1]: an image of one pixel with D channels, so that losses and penalties take it unchanged.

Shape legend: B batch, D dimensions of a point (1 or 2), Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from trainer.engine.players import AnyOptimizer, Player, build_optimizer, only
from trainer.engine.random import generator, seed_globals
from trainer.families.gan.arch import GanArch
from trainer.objective.phases import Batch, Nets, Phase, adversarial, d_updates
from trainer.spec import Data, JobSpec, Objective, Train

Sampler = Callable[[int, torch.Generator], Tensor]
"""(n, generator) → n independent rows, float32 on the CPU: points [n, D, 1, 1] or latents [n, Z]."""


class PointMlp(nn.Module):
    """A ReLU net of fully connected layers, as generator z_BZ → points_BD11 or as critic points_BD11 → values_B.

    widths: inputs, hidden units of each layer, outputs. `as_points` gives the output the shape of points.
    """

    def __init__(self, widths: Sequence[int], *, as_points: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        self.as_points = as_points

    def forward(self, x: Tensor, labels_B: Tensor | None = None) -> Tensor:
        values: Tensor = self.layers(x.flatten(1))
        return values[:, :, None, None] if self.as_points else values.squeeze(1)


class Given(nn.Module):
    """A generator whose latents are the points themselves: D's phase then compares two fixed distributions."""

    def forward(self, points_BD11: Tensor, labels_B: Tensor | None = None) -> Tensor:
        return points_BD11


def point_spec(
    objective: Objective, optimizers: Mapping[str, AnyOptimizer], *, batch: int, steps: int, seed: int
) -> JobSpec:
    """A spec that holds what a training on points needs: objective, optimisers of G and D, batch, seed and length.

    It is checked like any other. A spec has an image architecture; nothing here reads it.
    Raises pydantic.ValidationError for what a job would be refused for.
    """
    updates = sum(map(d_updates(objective), range(steps)))
    return JobSpec(
        name="points",
        arch=GanArch(),
        data=Data(lanes=1),
        objective=objective,
        optimizers=dict(optimizers),
        ema=None,
        train=Train(images=batch * updates, batch=batch, seed=seed),
    )


class PointTrainer:
    """Runs the phases of `adversarial(spec)` on points: all of them, or only those named (D's alone: G stays as it is).

    `real` draws points, `latents` what `nets["G"]` takes. What is drawn is a pure function of the spec's seed and the
    number of the update, as in the engine.
    """

    def __init__(
        self,
        spec: JobSpec,
        nets: Mapping[str, nn.Module],
        real: Sampler,
        latents: Sampler,
        phases: Iterable[str] = ("D", "G"),
    ) -> None:
        self.spec, self.nets, self.real, self.latents = spec, dict(nets), real, latents
        wanted = set(phases)
        self.phases = tuple(phase for phase in adversarial(spec) if phase.name in wanted)
        stepping = {name for phase in self.phases for name in phase.players}
        self.players = {name: _player(name, nets[name], spec.optimizers[name]) for name in nets if name in stepping}
        self.updates = dict.fromkeys(self.players, 0)
        self.steps, self.images = 0, 0
        self._points: Tensor | None = None

    def step(self) -> dict[str, float]:
        """One step: each phase as often as it repeats. Returns the metrics of each phase's last update."""
        metrics: dict[str, Tensor] = {}
        for phase in self.phases:
            for _ in range(phase.repeats(self.steps)):
                metrics.update(self._update(phase))
        self.steps += 1
        return {name: value.item() for name, value in metrics.items()}

    def _update(self, phase: Phase) -> Mapping[str, Tensor]:
        batch, seed = self.spec.train.batch, self.spec.train.seed
        number = self.updates[phase.players[0]]
        if phase.fresh_data or self._points is None:
            self._points = self.real(batch, generator(seed, "real", phase.name, number))
            self.images += batch
        z = self.latents(batch, generator(seed, "latents", phase.name, number))
        seed_globals(seed, "global", phase.name, number)
        nets: Nets = self.nets
        with only(self.players, phase.players):
            for name in phase.players:
                self.players[name].optimizer.zero_grad(set_to_none=True)
            loss = phase.loss(nets, Batch(real=self._points, labels=None, z=z, fake_labels=None, step=self.steps))
            loss.total.backward()  # type: ignore[no-untyped-call]
            for name in phase.players:
                self._apply(phase, self.players[name])
        return loss.metrics

    def _apply(self, phase: Phase, player: Player) -> None:
        player.set_rates(self.images, self.spec.train.images, self.updates[player.name])
        player.optimizer.step()
        self.updates[player.name] += 1
        for change in phase.after_update:
            change(player.net)


def _player(name: str, net: nn.Module, settings: AnyOptimizer) -> Player:
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    return Player(name, net, net, build_optimizer(settings, parameters), settings)
