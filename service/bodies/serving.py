"""What is kept ready to answer questions to models."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from service.bodies.base import Reply, or_new


class ServedState(StrEnum):
    """Where an application is between its first question and its end."""

    OFF = "off"  # nobody asks; it holds no place, or its last replicas end
    WAITING = "waiting"  # asked for; there is no room for it, or Ray is away: `reason`
    STARTING = "starting"  # it has a place, and none of its replicas answers yet
    READY = "ready"  # a replica answers
    FAILED = "failed"  # Ray Serve could not run it: `reason`; it is tried again when someone asks


class Served(Reply):
    """An application on the cluster."""

    name: str
    """`models` answers questions to models, `plans` makes plans where the API can't."""
    state: Annotated[ServedState, or_new(ServedState)]
    """Where it is between its first question and its end."""
    reason: str = ""
    """Why it isn't ready."""
    replicas: int = 0
    """That answer now."""
    most_replicas: int = 1
    """That it may have."""
    cpus: float = 0.0
    """CPUs of the place that it holds, for all replicas that it may have; 0: it holds none."""
    gpus: float = 0.0
    """The same of GPUs."""
    asked_at: datetime | None = None
    """The last question."""
    granted_at: datetime | None = None
    """Since when it holds its place."""


class Serving(Reply):
    """What answers questions to models."""

    enabled: bool
    """Whether AGON_SERVE allows it."""
    idle_seconds: float
    """Without a question for so long a replica ends, and its place is free."""
    applications: tuple[Served, ...]
    """Each there can be."""
