"""How large the scenarios are, and what they are measured against."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Of one run of the benchmark."""

    seconds: float = 8.0
    """Of each load."""
    clients: int = 50
    rate: float = 200.0
    """Submissions a second that are asked for."""
    waiting: int = 10_000
    jobs: int = 100_000
    followers: int = 1_000
    active: int = 1_000
    events: float = 2_000.0
    """Events a second that are asked for."""
    seed: int = 0


QUICK = Scale(seconds=1.0, clients=4, rate=10.0, waiting=50, jobs=200, followers=8, active=10, events=50.0)
SUBMIT_MS, WAITING_MS, LIST_MS, DELIVERY_MS, RESTART_S = 100.0, 250.0, 100.0, 1000.0, 5.0
"""Bounds: p99 of a submission, with many waiting, of a list, of the delivery of an event; until all active jobs were looked at."""
FLAT = 1.5
"""Times that a round may cost with all jobs ended of what it costs with none."""
