"""Bodies of the accounting: what runs have used."""

from __future__ import annotations

from enum import StrEnum

from service.bodies.base import Reply


class By(StrEnum):
    """What usage is added up by."""

    OWNER = "owner"
    NAME = "name"
    FAMILY = "family"
    KIND = "kind"
    RUN = "run"


class Account(Reply):
    """What some runs have used together, in hours."""

    name: str
    """Of the owner, the name, the family, the kind, or the run's id."""
    runs: int
    queue_hours: float
    """In the queue, of waits that are over."""
    run_hours: float
    """On the cluster."""
    cpu_hours: float
    """CPUs of their workers times hours on the cluster."""
    gpu_hours: float
    """GPUs of their workers times hours on the cluster."""
    planned_runs: int = 0
    """Of so many of the runs it was known, when they were submitted, what they would use; the next two are of these alone."""
    planned_cpu_hours: float | None = None
    """Null: of none."""
    planned_gpu_hours: float | None = None
    cost: float | None = None
    """In the currency of the prices; null without prices."""


class Prices(Reply):
    """What an hour costs, as the server was told."""

    cpu_hour: float
    gpu_hour: float
    currency: str


class Accounts(Reply):
    """Usage, the largest first."""

    items: tuple[Account, ...]
    total: Account
    """Of all that was asked for, also where there are more items than were asked for."""
    prices: Prices | None
