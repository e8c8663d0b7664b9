"""What regularises D and G: terms added to D's loss, projections after its update, corrections of G's gradients.

A penalty differentiates through D twice, so it takes the bare net: DDP's forward would count each call as a step of its
reducer. Gradients of the bare net's parameters are summed with those of the wrapped pass before DDP's hooks run.

Shape legend: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from trainer.nets.derivatives import twice_differentiable
from trainer.objective.orthogonal import regularise_
from trainer.spec.sections import R1, R2, Clip, GradientPenalty, Objective, Orthogonal

Critic = Callable[..., Tensor]
"""D(images_BCHW, labels_B | None) → logits_B."""


def input_gradients(critic: Critic, x_BCHW: Tensor, labels_B: Tensor | None) -> Tensor:
    """∇ₓ D(x) of each sample, differentiable by D's parameters: [B, C, H, W]. D must not mix samples."""
    x = x_BCHW.detach().requires_grad_(True)
    with twice_differentiable():
        logits_B = critic(x, labels_B)
    (gradient,) = torch.autograd.grad(logits_B.sum(), x, create_graph=True)
    return gradient


@dataclass(frozen=True)
class Penalised:
    """An unweighted penalty, a scalar, and detached scalars to log beside it."""

    value: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)


def gradient_penalty(critic: Critic, real_BCHW: Tensor, fake_BCHW: Tensor, labels_B: Tensor | None) -> Penalised:
    """E(‖∇D(x̂)‖₂ − 1)² at x̂ = εx + (1 − ε)G(z), ε ~ U(0, 1) per sample (Gulrajani et al. 2017, Eq. 3).

    labels_B are those of both: a conditional critic has to be 1-Lipschitz for each label by itself, between samples of
    the data and of the model given that label (Proposition 1 there, for each condition). So G is asked for the real
    images' labels where this penalty is used (`Term.between`). Metric gradient_norm: E‖∇D(x̂)‖₂, which it pulls to 1.
    """
    epsilon = torch.rand(len(real_BCHW), 1, 1, 1, device=real_BCHW.device, dtype=real_BCHW.dtype)
    gradient = input_gradients(critic, fake_BCHW + epsilon * (real_BCHW - fake_BCHW), labels_B)
    norm_B = _norm(gradient)
    return Penalised((norm_B - 1.0).square().mean(), {"gradient_norm": norm_B.detach().mean()})


def r1(critic: Critic, real_BCHW: Tensor, labels_B: Tensor | None) -> Tensor:
    """½ E‖∇D(x)‖₂² on real images (Mescheder et al. 2018, Eq. 9 with γ = 1). Scalar."""
    return 0.5 * input_gradients(critic, real_BCHW, labels_B).square().flatten(1).sum(dim=1).mean()


def r2(critic: Critic, fake_BCHW: Tensor, labels_B: Tensor | None) -> Tensor:
    """½ E‖∇D(G(z))‖₂² on generated images (Mescheder et al. 2018, Eq. 10 with γ = 1). Scalar."""
    return r1(critic, fake_BCHW, labels_B)


@torch.no_grad()
def clip_(net: nn.Module, bound: float) -> None:
    """Clamp every parameter to [−bound, bound] in place (Arjovsky et al. 2017, Algorithm 1, line 7)."""
    for parameter in net.parameters():
        parameter.clamp_(-bound, bound)


@dataclass(frozen=True)
class Judged:
    """What D judges: real_BCHW with labels_B, fake_BCHW with fake_labels_B (labels None when unconditional)."""

    real: Tensor
    fake: Tensor
    labels: Tensor | None
    fake_labels: Tensor | None


@dataclass(frozen=True)
class Term:
    """A weighted penalty with its interval. `name` is its metric's."""

    name: str
    weight: float
    interval: int
    apply: Callable[[Critic, Judged], Penalised]
    between: bool = False
    """It judges images between a real and a generated one, so both must have one label."""

    def due(self, step: int) -> bool:
        """Whether step number `step` (from 0) applies it; it then counts `interval` times (lazy regularisation)."""
        return step % self.interval == 0


def terms(objective: Objective) -> tuple[Term, ...]:
    """The penalties that add to D's loss, in the spec's order."""
    found: list[Term] = []
    for penalty in objective.penalties:
        if isinstance(penalty, GradientPenalty):
            found.append(
                Term("gradient_penalty", penalty.weight, penalty.interval, _gradient_penalty_term, between=True)
            )
        elif isinstance(penalty, R1):
            found.append(Term("r1", penalty.weight, penalty.interval, _r1_term))
        elif isinstance(penalty, R2):
            found.append(Term("r2", penalty.weight, penalty.interval, _r2_term))
    return tuple(found)


def projections(objective: Objective) -> tuple[Callable[[nn.Module], None], ...]:
    """What is applied to D after each of its updates, in the spec's order."""
    return tuple(_clipper(penalty.bound) for penalty in objective.penalties if isinstance(penalty, Clip))


def corrections(objective: Objective) -> dict[str, Callable[[nn.Module], Mapping[str, Tensor]]]:
    """`Phase.before_update` of a phase in which G steps: what is added to its gradients. Metric G/orthogonal is R."""
    weights = [penalty.weight for penalty in objective.penalties if isinstance(penalty, Orthogonal)]
    if not weights:
        return {}
    return {"G": lambda net: {"G/orthogonal": regularise_(net, sum(weights))}}


def _gradient_penalty_term(critic: Critic, judged: Judged) -> Penalised:
    return gradient_penalty(critic, judged.real, judged.fake, judged.labels)


def _r1_term(critic: Critic, judged: Judged) -> Penalised:
    return Penalised(r1(critic, judged.real, judged.labels))


def _r2_term(critic: Critic, judged: Judged) -> Penalised:
    return Penalised(r2(critic, judged.fake, judged.fake_labels))


def _clipper(bound: float) -> Callable[[nn.Module], None]:
    return lambda net: clip_(net, bound)


def _norm(gradient_BCHW: Tensor) -> Tensor:
    """‖·‖₂ of each sample. The norm's gradient at 0 is taken as 0 (`vector_norm` does), not NaN."""
    norm: Tensor = torch.linalg.vector_norm(gradient_BCHW.flatten(1), dim=1)
    return norm
