"""Whether a job can't fit the machines that are there. Torch-free; the control plane asks at submit, the driver before it trains.

Only what certainly can't fit is refused: of machines of several kinds the largest counts, of an ambiguous name the largest that it
may mean, and what isn't known is not held against a job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainer.nodes import ACCELERATOR, NodeShape
from trainer.plan.devices import ACCELERATOR_TYPES, GIB, GPUS, Device, cpu
from trainer.plan.result import Plan
from trainer.spec import FieldError, JobSpec, Resources
from trainer.spec.errors import short

DEEPEST = 1536
"""Channels to which convolutional nets widen with depth, from a width of 96 (BigGAN's)."""
LAYERS = 48
"""More than the copies of the widest layer's output that any of the families' passes keeps for one image."""


def place(resources: Resources, nodes: Iterable[Mapping[str, float]], more: Sequence[NodeShape] = ()) -> Device | None:
    """The largest device that a worker may get on nodes with these Ray resources; None if its memory isn't known.

    A GPU is known by the node's `accelerator_type:NAME`. A CPU worker gets at most the largest node's memory, and all together
    at most that of all nodes. more: nodes that an autoscaler may start beside them.
    """
    listed = [*nodes, *(shape.resources for shape in more for _ in range(shape.nodes))]
    if not resources.gpus_per_worker:
        memories = [int(node.get("memory", 0)) for node in listed]
        total = sum(memories)
        if any(not shape.memory for shape in more):
            return None
        return cpu(min(max(memories), total // resources.workers)) if total else None
    kinds = [_gpu(node) for node in listed if node.get("GPU", 0) >= 1]
    known = [kind for kind in kinds if kind is not None]
    return max(known, key=lambda device: device.memory) if known and len(known) == len(kinds) else None


def _gpu(node: Mapping[str, float]) -> Device | None:
    names = [name.removeprefix(ACCELERATOR) for name in node if name.startswith(ACCELERATOR)]
    return next((GPUS[ACCELERATOR_TYPES[name]] for name in names if name in ACCELERATOR_TYPES), None)


def at_most(spec: JobSpec) -> int:
    """Bytes that a worker needs at most, roughly and generously, from the spec alone: what is below needs no plan.

    It knows of nets only their widest number, so it may be too low for an odd architecture; then the worker finds out.
    """
    arch, local = spec.arch, spec.local_batch(spec.resources.workers)
    images = max(min(spec.train.micro(players) or local, local) for players in (("D",), ("G",)))
    width = max(_integers(arch.model_dump(mode="python")), default=1)
    activations = 2 * images * arch.resolution**2 * max(width, arch.channels) * 4 * LAYERS
    deepest = max(width, min(16 * width, DEEPEST))
    weights = deepest**2 * 9 * 4 * 20  # four layers of 3 × 3 kernels, twenty bytes a parameter
    return activations + weights + local * arch.resolution**2 * arch.channels


def _integers(fields: Mapping[str, Any]) -> Iterable[int]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _integers(value)
        elif (
            isinstance(value, int)
            and not isinstance(value, bool)
            and not name.startswith(("resolution", "classes", "max_"))
        ):
            yield value


SMALL = GIB
"""A job that needs no more fits every machine; nobody is asked."""


def needs_plan(spec: JobSpec, device: Device | None = None) -> bool:
    """Whether it isn't plain from the spec that it fits."""
    return at_most(spec) > max(SMALL, device.usable if device else 0)


def refusal(plan: Plan) -> FieldError | None:
    """What is wrong with the spec and what would fit; None if it fits, or if that isn't known."""
    if plan.verdict.fits is not False:
        return None
    best = plan.verdict.micro_batch
    same = best is not None and len(set(best.values())) == 1
    value = next(iter(best.values())) if best and same else best
    fix = f"use {short(value)}" if best else plan.verdict.advice
    given = {name: player.micro_batch for name, player in plan.players.items()}
    message = f"does not fit {plan.title}: {plan.verdict.need}"
    return FieldError(path="train.micro_batch", message=message, value=short(given), fix=fix)
