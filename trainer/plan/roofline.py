"""How long operations take: each is bound by its arithmetic or by its bytes, whichever is slower (Williams et al. 2009)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from math import log2
from typing import Protocol

from pydantic import Field

from trainer.plan.costs import Cost
from trainer.plan.devices import Device
from trainer.schema import Frozen

COMPUTE_SHARE = {"fp32": 0.7, "tf32": 0.45, "bf16": 0.4}
"""Share of the peak that convolutions and matrix products are assumed to reach on a GPU: tensor cores are harder to feed."""
NARROW = 32
"""Channels per group below which a GPU's share falls in proportion: tensor cores work on tiles."""
MEMORY_SHARE = 0.8
"""Share of the bandwidth that other operations are assumed to reach."""
LAUNCH = 5e-6
"""Seconds between two kernels that a GPU can't hide."""
NETWORK_SHARE = 0.7
ROUND_TRIP = 30e-6
"""Seconds of an all-reduce of almost nothing between GPUs of one node; each doubling of the nodes adds a third of it."""

Points = tuple[tuple[float, float], ...]
"""(size, rate), ascending by size; between them the rate is linear in the size's logarithm, outside it is the last one's."""


class Rates(Protocol):
    """Something that knows how long an operation takes."""

    calibrated: bool

    def seconds(self, cost: Cost, section: str) -> float:
        """Of one such operation. section: "forward", "backward" or "update"."""
        ...


class Table:
    """A device's data sheet and the shares above."""

    calibrated = False

    def __init__(self, device: Device) -> None:
        self.device = device

    def seconds(self, cost: Cost, section: str) -> float:
        """See Rates. Matrix products in float32 don't use TF32 (torch's default), convolutions do."""
        device = self.device
        if device.kind == "cpu":
            return max(
                cost.flops / (device.bf16 if cost.dtype == "bfloat16" else device.fp32), cost.bytes / device.bandwidth
            )
        peaks = {"fp32": device.fp32, "tf32": device.tf32, "bf16": device.bf16}
        kind = "bf16" if cost.dtype in ("bfloat16", "float16") else "tf32" if cost.kind == "convolution" else "fp32"
        if peaks[kind] <= device.fp32:
            kind = "fp32"  # no tensor cores for it
        narrow = min(1.0, cost.width / NARROW) if cost.width else 1.0
        arithmetic = cost.flops / (peaks[kind] * COMPUTE_SHARE[kind] * narrow)
        return max(arithmetic, cost.bytes / (device.bandwidth * MEMORY_SHARE), LAUNCH)


class Calibration(Frozen):
    """What was measured on a machine's CPU (`trainer.plan.calibrate`); `key` says on which, with how many threads."""

    key: str
    threads: int
    convolution: dict[str, Points]
    """"forward", "backward" → (width, FLOP/s)."""
    matmul: Points
    """(smallest dimension, FLOP/s)."""
    memory: Points
    """(bytes moved, bytes/s) of an operation that makes a new tensor."""
    overhead: dict[str, float]
    """"forward", "backward" → seconds beside an operation's own: modules, autograd, the interpreter."""
    operations: Mapping[str, float] = Field(default_factory=dict)
    """Operations that were timed in their very form → seconds (`trainer.plan.replay`)."""


class Measured:
    """A calibrated CPU."""

    calibrated = True

    def __init__(self, calibration: Calibration) -> None:
        self.calibration = calibration

    def seconds(self, cost: Cost, section: str) -> float:
        """See Rates."""
        found, side = self.calibration, "backward" if section == "backward" else "forward"
        if (seconds := found.operations.get(cost.call)) is not None:
            return seconds + found.overhead[side]
        moving = cost.bytes / at(found.memory, cost.bytes)
        arithmetic = 0.0
        if cost.kind == "convolution":
            arithmetic = cost.flops / at(found.convolution[side], cost.width)
        elif cost.flops:
            arithmetic = cost.flops / at(found.matmul, cost.width)
        return max(arithmetic, moving) + found.overhead[side]


def at(points: Points, size: float) -> float:
    """The rate at a size."""
    sizes = [point[0] for point in points]
    index = bisect_right(sizes, size)
    if index == 0 or index == len(points):
        return points[min(index, len(points) - 1)][1]
    (low, slow), (high, fast) = points[index - 1], points[index]
    share = log2(size / low) / log2(high / low)
    return slow + share * (fast - slow)


def total(costs: Mapping[str, Mapping[Cost, int]], rates: Rates, sections: Sequence[str]) -> float:
    """Seconds of all operations of these sections, one after the other."""
    return sum(rates.seconds(cost, s) * n for s in sections for cost, n in costs.get(s, {}).items())


def all_reduce(device: Device, world: int, size: float, calls: float = 1.0) -> float:
    """Seconds of all-reduces of `size` bytes in all over `world` workers: a ring moves 2 (W − 1) / W of them over each link.

    Within a node over its link; across nodes the network is the narrowest part of the ring.
    """
    if world == 1 or not size:
        return 0.0
    nodes = -(-world // device.per_node)
    speed = (
        device.link if nodes == 1 else min(device.network * min(world, device.per_node), device.link)
    ) * NETWORK_SHARE
    trip = ROUND_TRIP * (1.0 + log2(nodes) / 3.0)
    return 2.0 * (world - 1) / world * size / speed + calls * trip
