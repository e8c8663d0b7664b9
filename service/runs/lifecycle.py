"""The lifecycle of a run, job or search: a pure table. Whatever is not in it is refused.

submitted ──► queued ──► starting ──► running ──► succeeded
    └────────────┴──────────┐  ▲ └─────┐  │  │ └► failed
                            ▼  └ queued ┘◄─┘  └─► stopping ──► cancelled, paused, queued
                cancelled, paused    (retry, room for another)

What is paused goes back to queued when it is resumed; what the queue has paused, to make room for another, goes back by itself. A job
that has failed or was cancelled goes back when someone has it tried again: the same job, with its next attempt. A search that has failed
goes back when it is resumed, too; one that has ended or is paused when it is extended.
"""

from __future__ import annotations

from enum import StrEnum

from service.bodies.states import State


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
    YIELD = "make room"  # it ended as the queue asked, for another run; it waits for its turn again
    RESUME = "resume"
    TRY_AGAIN = "be tried again"  # someone asks for another attempt at what has failed or was cancelled
    EXTEND = "extend"  # it shall do more than it was first asked to


_END = {Trigger.COMPLETE: State.SUCCEEDED, Trigger.FAIL: State.FAILED, Trigger.CANCEL: State.CANCELLED}
_LEAVE = {Trigger.CANCEL: State.CANCELLED, Trigger.PAUSE: State.PAUSED}
_PART = {**_LEAVE, Trigger.YIELD: State.QUEUED}

TABLE: dict[State, dict[Trigger, State]] = {
    State.SUBMITTED: {Trigger.WAIT: State.QUEUED, Trigger.ADMIT: State.STARTING, **_LEAVE},
    State.QUEUED: {Trigger.ADMIT: State.STARTING, **_LEAVE},
    State.STARTING: {
        Trigger.START: State.RUNNING,
        Trigger.STOP: State.STOPPING,
        Trigger.RETRY: State.QUEUED,
        **_END,
        **_PART,
    },
    State.RUNNING: {Trigger.STOP: State.STOPPING, Trigger.RETRY: State.QUEUED, **_END, **_PART},
    State.STOPPING: {**_END, **_PART},
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


def made_room(run: str, priority: int) -> str:
    """For a person, of one that was taken off the cluster for that run."""
    return f"paused for {run}, which has priority {priority}"
