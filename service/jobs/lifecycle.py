"""The lifecycle of a run, job or search: a pure table. Whatever is not in it is refused.

submitted ──► queued ──► starting ──► running ──► succeeded
    └────────────┴──────────┐  ▲ └─────┐  │  │ └► failed
                            ▼  └ queued ┘◄─┘  └─► stopping ──► cancelled, paused
                cancelled, paused    (retry)

A job that has failed or was cancelled goes back to queued when someone has it tried again: the same job, with its next attempt.
A search that is paused, or has failed, goes back when it is resumed; one that has ended or is paused when it is extended.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal


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


JobState = Literal["submitted", "queued", "starting", "running", "stopping", "succeeded", "failed", "cancelled"]
"""Those that a job can be in: searches alone can be paused."""


class Trigger(StrEnum):
    """What moves a run."""

    WAIT = "wait"  # the cluster can't hold it now
    ADMIT = "admit"  # its next attempt goes to Ray
    START = "start"  # its training began
    STOP = "stop"  # it was cancelled while on the cluster
    RETRY = "retry"  # its attempt was lost and another is allowed
    COMPLETE = "complete"  # it trained to its end
    FAIL = "fail"
    CANCEL = "cancel"  # it ended as asked
    PAUSE = "pause"  # it ended as asked, to go on later
    RESUME = "resume"
    TRY_AGAIN = "be tried again"  # someone asks for another attempt at what has failed or was cancelled
    EXTEND = "extend"  # it shall do more than it was first asked to


_END = {Trigger.COMPLETE: State.SUCCEEDED, Trigger.FAIL: State.FAILED, Trigger.CANCEL: State.CANCELLED}
_LEAVE = {Trigger.CANCEL: State.CANCELLED, Trigger.PAUSE: State.PAUSED}

TABLE: dict[State, dict[Trigger, State]] = {
    State.SUBMITTED: {Trigger.WAIT: State.QUEUED, Trigger.ADMIT: State.STARTING, **_LEAVE},
    State.QUEUED: {Trigger.ADMIT: State.STARTING, **_LEAVE},
    State.STARTING: {
        Trigger.START: State.RUNNING,
        Trigger.STOP: State.STOPPING,
        Trigger.RETRY: State.QUEUED,
        **_END,
        **_LEAVE,
    },
    State.RUNNING: {Trigger.STOP: State.STOPPING, Trigger.RETRY: State.QUEUED, **_END, **_LEAVE},
    State.STOPPING: {**_END, **_LEAVE},
    State.PAUSED: {Trigger.RESUME: State.QUEUED, Trigger.EXTEND: State.QUEUED, Trigger.CANCEL: State.CANCELLED},
    State.SUCCEEDED: {Trigger.EXTEND: State.QUEUED},
    State.FAILED: {Trigger.RESUME: State.QUEUED, Trigger.TRY_AGAIN: State.QUEUED, Trigger.EXTEND: State.QUEUED},
    State.CANCELLED: {Trigger.TRY_AGAIN: State.QUEUED, Trigger.EXTEND: State.QUEUED},
}


class IllegalTransitionError(Exception):
    """A trigger that the state doesn't allow."""

    def __init__(self, state: State, trigger: Trigger) -> None:
        super().__init__(f"what is {state} can't {trigger}")


def advance(state: State, trigger: Trigger) -> State:
    """The state after `trigger`. Raises IllegalTransitionError."""
    try:
        return TABLE[state][trigger]
    except KeyError:
        raise IllegalTransitionError(state, trigger) from None
