"""Training is phases: who steps, on which loss, how often. The engine's loop knows nothing else.

Shape legend: B batch, C channels, H height, W width, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from trainer.spec import JobSpec

Nets = Mapping[str, Callable[..., Tensor]]
"""Player name → net to call. Players that step are DDP-wrapped and take gradients; the others are bare and frozen."""


@dataclass(frozen=True)
class Batch:
    """One micro-batch as a loss sees it, on the device.

    `real` is images_BCHW in the arch's pixel range, `labels` its int64 labels_B (None when unconditional);
    `z` is latents_BZ and `fake_labels` the labels that G is asked for. In a phase that draws no new real batch,
    `real` and `labels` are those of the step's last real batch (relativistic losses need them).
    `step` is the number of the step, counted from 0 (lazy penalties need it).
    """

    real: Tensor
    labels: Tensor | None
    z: Tensor
    fake_labels: Tensor | None
    step: int


@dataclass(frozen=True)
class Loss:
    """The scalar that is minimised, a mean over the micro-batch, and detached scalars to log (no `.item()`)."""

    total: Tensor
    metrics: Mapping[str, Tensor]


@dataclass(frozen=True)
class Phase:
    """One kind of update.

    name: unique in the spec; prefixes nothing, names log lines ("D", "G").
    players: whose parameters step; all others are frozen while the phase runs.
    loss: pure in its arguments but for torch's global generator (dropout, interpolation), which the engine seeds.
    repeats: step → how many updates in this step; with `fresh_data` each takes a new real batch.
    after_update: applied to each stepped player's bare net after its optimiser step, e.g. weight clipping.
    """

    name: str
    players: tuple[str, ...]
    loss: Callable[[Nets, Batch], Loss]
    repeats: Callable[[int], int] = lambda step: 1
    fresh_data: bool = False
    after_update: tuple[Callable[[nn.Module], None], ...] = ()


def adversarial(spec: JobSpec) -> tuple[Phase, ...]:
    """D's phase (`objective.d_steps` times, each on a new real batch) and then G's, from `spec.objective`."""
    raise NotImplementedError
