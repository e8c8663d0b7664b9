"""The lifecycle of a job: a pure table. Whatever is not in it is refused.

submitted ──► queued ──► starting ──► running ──► succeeded
    └────────────┴──────────┐  ▲ └─────┐  │  │ └► failed
                            ▼  └ queued ┘◄─┘  └─► stopping ──► cancelled
                        cancelled    (retry)
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a job is."""

    SUBMITTED = "submitted"  # stored; nobody has looked at it yet
    QUEUED = "queued"  # waits for capacity, or for its next attempt
    STARTING = "starting"  # handed to Ray
    RUNNING = "running"  # training
    STOPPING = "stopping"  # asked to checkpoint and end
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing can happen to the job any more."""
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)

    @property
    def on_ray(self) -> bool:
        """Whether an attempt may be on the cluster."""
        return self in (State.STARTING, State.RUNNING, State.STOPPING)


class Trigger(StrEnum):
    """What moves a job."""

    WAIT = "wait"  # the cluster can't hold it now
    ADMIT = "admit"  # its next attempt goes to Ray
    START = "start"  # its training began
    STOP = "stop"  # it was cancelled while on the cluster
    RETRY = "retry"  # its attempt was lost and another is allowed
    COMPLETE = "complete"  # it trained to its end
    FAIL = "fail"
    CANCEL = "cancel"  # it ended as asked


_END = {Trigger.COMPLETE: State.SUCCEEDED, Trigger.FAIL: State.FAILED, Trigger.CANCEL: State.CANCELLED}

TABLE: dict[State, dict[Trigger, State]] = {
    State.SUBMITTED: {
        Trigger.WAIT: State.QUEUED,
        Trigger.ADMIT: State.STARTING,
        Trigger.CANCEL: State.CANCELLED,
    },
    State.QUEUED: {Trigger.ADMIT: State.STARTING, Trigger.CANCEL: State.CANCELLED},
    State.STARTING: {Trigger.START: State.RUNNING, Trigger.STOP: State.STOPPING, Trigger.RETRY: State.QUEUED, **_END},
    State.RUNNING: {Trigger.STOP: State.STOPPING, Trigger.RETRY: State.QUEUED, **_END},
    State.STOPPING: dict(_END),
    State.SUCCEEDED: {},
    State.FAILED: {},
    State.CANCELLED: {},
}


class IllegalTransitionError(Exception):
    """A trigger that the state doesn't allow."""

    def __init__(self, state: State, trigger: Trigger) -> None:
        super().__init__(f"a job that is {state} can't {trigger}")


def advance(state: State, trigger: Trigger) -> State:
    """The state after `trigger`. Raises IllegalTransitionError."""
    try:
        return TABLE[state][trigger]
    except KeyError:
        raise IllegalTransitionError(state, trigger) from None
