"""The states of a run; `service.runs.lifecycle` says how one follows another."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a run is."""

    SUBMITTED = "submitted"  # stored; nobody has looked at it yet
    QUEUED = "queued"  # waits for capacity, or for its next attempt
    STARTING = "starting"  # handed to Ray
    RUNNING = "running"  # training
    STOPPING = "stopping"  # asked to checkpoint and end
    PAUSED = "paused"  # not on the cluster, until someone resumes it
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing happens to it any more, unless someone has it go on."""
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)

    @property
    def on_ray(self) -> bool:
        """Whether an attempt may be on the cluster."""
        return self in (State.STARTING, State.RUNNING, State.STOPPING)
