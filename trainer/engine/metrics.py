"""What is measured between two ticks, without the host waiting for the device."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from trainer.engine.distributed import Distributed

REPLACED = "data/replaced"
"""Metric with `data.on_bad_shard: skip`: samples since the last tick, on all ranks, that others stood in for."""


class Means:
    """Weighted sums of scalar metrics, kept on the device until `reduce`; and counts of what the host saw."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, metrics: Mapping[str, Tensor], weight: float = 1.0) -> None:
        """Count detached scalars `weight` times. A metric's mean is over the updates that gave it."""
        for name, value in metrics.items():
            scaled = value.detach() * weight
            self._sums[name] = scaled if name not in self._sums else self._sums[name].add_(scaled)
            self._weights[name] = self._weights.get(name, 0.0) + weight

    def count(self, name: str, number: int) -> None:
        """Add to a count, which is summed over the updates and the ranks."""
        self._counts[name] = self._counts.get(name, 0) + number

    def reduce(self, distributed: Distributed, flag: bool, pace: float) -> tuple[dict[str, float], bool, float]:
        """Means over the updates and all ranks with the counts' sums, whether any rank's `flag` is set, and the mean of the
        ranks' `pace`; then start anew.

        One all-reduce and one transfer to the host. All ranks must have seen the same metrics, as equal phases give.
        """
        names = [*self._sums, *self._counts]
        values = [(self._sums[name] / self._weights[name]).double().reshape(()) for name in self._sums]
        # Of the mean over W ranks, W times the count is the sum: exactly, because they are whole numbers.
        known = [*(number * distributed.world for number in self._counts.values()), flag, pace]
        ours = torch.tensor(known, dtype=torch.float64, device=distributed.device)
        *means, flags, together = distributed.mean(torch.cat([*(value[None] for value in values), ours])).tolist()
        self._sums.clear()
        self._weights.clear()
        self._counts.clear()
        return dict(zip(names, means, strict=True)), flags > 0, together


class Stopwatch:
    """Wall time by part since the last `read`. On a GPU a part's time is that of launching its kernels; the time the
    device needs beyond that shows where the host waits for it, which is at the tick, under `compute`."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._since = time.perf_counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the block's wall time for `name`."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._spent[name] = self._spent.get(name, 0.0) + time.perf_counter() - begun

    @property
    def seconds(self) -> float:
        """Seconds since the last read, above 0."""
        return max(time.perf_counter() - self._since, 1e-9)

    def read(self) -> tuple[float, dict[str, float]]:
        """Seconds since the last read and each part's share of them; then start anew."""
        now, total = time.perf_counter(), self.seconds
        shares = {name: spent / total for name, spent in self._spent.items()}
        self._spent.clear()
        self._since = now
        return total, shares
