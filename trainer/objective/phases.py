"""Training is phases: who steps, on which loss, how often. The engine's loop knows nothing else.

Shape legend: B batch, C channels, H height, W width, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trainer.nets.norm import uses_batch_statistics
from trainer.objective.losses import LOSSES, LossPair
from trainer.objective.penalties import Judged, Term, corrections, projections, terms
from trainer.spec import JobSpec, Objective

Nets = Mapping[str, Callable[..., Any]]
"""Player name → net to call. Players that step are DDP-wrapped and take gradients; the others are bare and frozen.
A call gives a tensor, or what a flag of the family's nets asks for: `D(images, labels, features=True)`."""


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
    """The scalar that is minimised, a mean over the micro-batch, and detached scalars to log (no `.item()`).

    A metric may be absent from some updates (lazy penalties); which are there depends on the step alone.
    """

    total: Tensor
    metrics: Mapping[str, Tensor]


@dataclass(frozen=True)
class Phase:
    """One kind of update.

    name: unique in the spec; names what is drawn at random for it ("D", "G").
    players: whose parameters step; all others are frozen while the phase runs.
    loss: pure in its arguments but for torch's global generator (dropout, interpolation), which the engine seeds.
    repeats: step → how many updates in this step; with `fresh_data` each takes a new real batch.
    before_update: by stepped player, applied to its bare net when its gradients are complete (accumulated, and reduced
    over the ranks), before its optimiser: adds to the gradients, the same on every rank, and gives metrics.
    after_update: applied to each stepped player's bare net after its optimiser step, e.g. weight clipping.
    """

    name: str
    players: tuple[str, ...]
    loss: Callable[[Nets, Batch], Loss]
    repeats: Callable[[int], int] = lambda step: 1
    fresh_data: bool = False
    before_update: Mapping[str, Callable[[nn.Module], Mapping[str, Tensor]]] = field(default_factory=dict)
    after_update: tuple[Callable[[nn.Module], None], ...] = ()


def adversarial(spec: JobSpec) -> tuple[Phase, ...]:
    """D's phase (`objective.d_steps` times, each on a new real batch) and then G's, from `spec.objective`.

    Raises ValueError for a family with losses of its own, which has to make its phases itself.
    """
    objective = spec.objective
    if objective.loss == "own":
        raise ValueError(
            f"family {spec.arch.family} has losses of its own; they are no pair of trainer.objective.losses"
        )
    pair, penalties = LOSSES[objective.loss], terms(objective)

    def d_loss(nets: Nets, batch: Batch) -> Loss:
        return discriminator_loss(nets, batch, pair, penalties)

    def g_loss(nets: Nets, batch: Batch) -> Loss:
        return generator_loss(nets, batch, pair)

    return (
        Phase(
            "D",
            ("D",),
            d_loss,
            repeats=d_updates(objective),
            fresh_data=True,
            after_update=projections(objective),
        ),
        Phase("G", ("G",), g_loss, before_update=corrections(objective)),
    )


def d_updates(objective: Objective) -> Callable[[int], int]:
    """Step → D's updates in it: `d_steps`, or more where `d_warmup` applies."""
    warmup = objective.d_warmup

    def repeats(step: int) -> int:
        return warmup.d_steps if warmup is not None and warmup.applies(step) else objective.d_steps

    return repeats


def discriminator_loss(nets: Nets, batch: Batch, pair: LossPair, penalties: tuple[Term, ...] = ()) -> Loss:
    """D's loss on one micro-batch with its penalties.

    The fake images come from the frozen G in training mode without a graph, so its batch norms update their running
    statistics here as well as in G's phase; training never reads those. Where a loss or penalty sets a generated image
    beside a real one, G is asked for the label of that one.
    """
    paired = pair.relativistic or any(term.between for term in penalties)
    asked = batch.labels if paired else batch.fake_labels
    with torch.no_grad():
        fake = nets["G"](batch.z, asked).to(batch.real.dtype)
    judged = Judged(batch.real, fake, batch.labels, asked)
    real_logits, fake_logits = _judge(nets["D"], judged)
    loss = pair.d(real_logits, fake_logits)
    metrics = {"D/loss": loss.detach(), **decisions(real_logits.detach(), fake_logits.detach(), pair.threshold)}
    total = loss
    for term in penalties:
        if term.due(batch.step):
            penalised = term.apply(bare(nets["D"]), judged)
            total = total + term.weight * term.interval * penalised.value
            metrics[f"D/{term.name}"] = penalised.value.detach()
            metrics.update({f"D/{name}": value for name, value in penalised.metrics.items()})
    return Loss(total, metrics)


def generator_loss(nets: Nets, batch: Batch, pair: LossPair) -> Loss:
    """G's loss on one micro-batch, through D as it trains (with its dropout, on the batch's own statistics).

    A relativistic loss compares each fake with a real image of the same label (Huang et al. 2024, section 2.1).
    """
    asked = batch.labels if pair.relativistic else batch.fake_labels
    fake_logits = nets["D"](nets["G"](batch.z, asked), asked).to(batch.real.dtype)
    real_logits = nets["D"](batch.real, batch.labels).to(batch.real.dtype) if pair.relativistic else None
    loss = pair.g(fake_logits, real_logits)
    return Loss(loss, {"G/loss": loss.detach()})


def bare(net: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The net inside DDP's wrapper, or the net itself. The one place where a loss looks through the wrapper."""
    inner: Callable[..., Tensor] = getattr(net, "module", net)
    return inner


def _judge(critic: Callable[..., Tensor], judged: Judged) -> tuple[Tensor, Tensor]:
    """Logits of real and fake images: one pass where D treats samples alone, two where it has batch statistics."""
    real, fake = judged.real, judged.fake
    if uses_batch_statistics(bare(critic)):
        real_logits, fake_logits = critic(real, judged.labels), critic(fake, judged.fake_labels)
    else:
        labels = None
        if judged.labels is not None and judged.fake_labels is not None:
            labels = torch.cat([judged.labels, judged.fake_labels])
        logits = critic(torch.cat([real, fake]), labels)
        real_logits, fake_logits = logits[: len(real)], logits[len(real) :]
    return real_logits.to(real.dtype), fake_logits.to(real.dtype)


def decisions(real_B: Tensor, fake_B: Tensor, threshold: float | None) -> dict[str, Tensor]:
    """Mean logits, and the shares of images that D judges right where a logit is a decision."""
    metrics = {"D/real": real_B.mean(), "D/fake": fake_B.mean()}
    if threshold is not None:
        metrics["D/accuracy_real"] = (real_B > threshold).to(real_B.dtype).mean()
        metrics["D/accuracy_fake"] = (fake_B <= threshold).to(fake_B.dtype).mean()
    return metrics
