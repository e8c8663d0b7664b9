"""What to do about a run, job or search: a pure function of its row, of what Ray says, and of the time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from service.bodies.states import State
from service.gateway.ray_jobs import RayJob, RayStatus
from service.runs.lifecycle import Trigger, made_room
from trainer.wire import FailureKind

MAX_BACKOFF = timedelta(seconds=30)
SAVES = "saves a checkpoint and ends"
TRIES = 10
"""So often an attempt is handed to a Ray that answers with an error of its own: for about three minutes."""


PARTS = {"stop": Trigger.CANCEL, "pause": Trigger.PAUSE, "run": Trigger.YIELD}
"""By what is desired of a run that leaves the cluster before its work is done."""


@dataclass(frozen=True)
class View:
    """The part of a job's row that decides."""

    state: State
    desired: Literal["run", "stop", "pause"]
    attempt: int
    attempts: int
    """How many there may be."""
    confirmed: bool
    """Whether Ray surely took this attempt."""
    started: bool
    """Whether this attempt has reported that training began."""
    outcome: dict[str, Any] | None
    """How this attempt says that it ended."""
    stop_at: datetime | None
    waiting: str = ""
    tries: int = 0
    """How often Ray answered it with an error of its own when this attempt was handed over."""
    spent: str = ""
    """The limit that ends it, for a person; empty: none does."""
    over: str = ""
    """The limit that is used up now."""
    yields_to: str = ""
    """The run that it makes room for; what people want of it comes before that."""
    yields_priority: int = 0
    """Of that run."""

    @property
    def leaving(self) -> bool:
        """Whether it shall end before its work is done."""
        return self.desired != "run" or bool(self.yields_to)

    @property
    def parted(self) -> str:
        """What it is when it has ended so."""
        if self.desired == "run":
            return made_room(self.yields_to, self.yields_priority)
        return "paused" if self.desired == "pause" else self.spent or "cancelled"

    def part(self, how: str = "") -> Move:
        """End it so."""
        return Move(PARTS[self.desired], self.parted + ("" if self.spent else how))

    def ends(self, how: str) -> str:
        """That it is on its way there: `cancelled: Ray stops it`."""
        return f"{self.parted}{';' if self.parted == self.spent else ':'} {how}"

    def part_unsaved(self) -> Move:
        """End it so, though its driver is gone and didn't say that it had saved."""
        lost = self.started and self.desired != "stop"
        return self.part(
            "; its driver ended without a last word, so it goes on from its newest checkpoint" if lost else ""
        )


@dataclass(frozen=True)
class Unreachable:
    """Ray didn't answer."""

    reason: str


@dataclass(frozen=True)
class Ended:
    """A Ray job that ended, with the last lines of its log."""

    job: RayJob
    tail: str = ""


Seen = RayJob | Ended | Unreachable | None
"""What Ray says of the attempt; None: it doesn't know it."""


@dataclass(frozen=True)
class Wait:
    """Stay, for this reason."""

    reason: str


@dataclass(frozen=True)
class Spend:
    """Have it end: one of its limits is used up."""


@dataclass(frozen=True)
class Submit:
    """Hand the attempt to Ray."""


@dataclass(frozen=True)
class Again:
    """Stay, and hand the same attempt over once more after a pause."""

    reason: str
    delay: timedelta


@dataclass(frozen=True)
class Confirm:
    """Note that Ray has the attempt."""


@dataclass(frozen=True)
class StopRay:
    """Have Ray stop the attempt."""

    reason: str


@dataclass(frozen=True)
class Move:
    """Change the state."""

    trigger: Trigger
    reason: str = ""
    failure: FailureKind | None = None
    rank: int | None = None
    """Of the worker that failed, if one did."""
    delay: timedelta = timedelta()
    """Before a retry is admitted."""
    cause: FailureKind | None = None
    """Of a retry: why the attempt was lost."""
    grace: timedelta | None = None
    """With STOP: how long the job may take to end by itself."""


Action = Wait | Spend | Submit | Again | Confirm | StopRay | Move


def decide_queued(view: View) -> Move | None:
    """For a job that waits in the queue, whether it leaves it; else admission decides."""
    if view.desired == "run":
        return None
    return view.part(" before it started" if not view.attempt else " between attempts")


def decide_on_ray(view: View, seen: Seen, now: datetime, grace: timedelta) -> Action:
    """For a job that may be on the cluster."""
    if view.outcome is not None:
        action = _told(view, view.outcome, seen, now, grace)
        return replace(action, rank=view.outcome.get("rank")) if isinstance(action, Move) and action.failure else action
    if view.over and not view.leaving:
        return Spend()
    match seen:
        case Unreachable(reason):
            return Wait(f"{reason}; the state shown is the last one known")
        case None if not view.confirmed:
            return view.part(" before it started") if view.leaving else Submit()
        case None:
            return _lost(view, "Ray no longer knows the job: its head was restarted, or someone deleted the job")
        case Ended(job, tail):
            return _ended_silently(view, job, tail)
        case RayJob():
            return _alive(view, seen, now, grace)


def _alive(view: View, job: RayJob, now: datetime, grace: timedelta) -> Action:
    if view.leaving:
        return _leave(view, now, grace)
    if not view.confirmed:
        return Confirm()
    if view.started and view.state is State.STARTING:
        return Move(Trigger.START)
    if view.waiting:
        return Wait(view.waiting)
    if view.state is State.STARTING:
        return Wait("Ray starts the driver" if job.status is RayStatus.PENDING else "the driver starts the workers")
    return Wait("")


def _leave(view: View, now: datetime, grace: timedelta) -> Action:
    """It is on the cluster and shall end."""
    if view.state is not State.STOPPING:
        # Before training began there is nothing to save.
        return Move(Trigger.STOP, view.ends(SAVES), grace=grace if view.started else timedelta())
    if view.stop_at is not None and now >= view.stop_at:
        why = "did not end by itself, so Ray stops it" if view.started else "Ray stops it"
        return StopRay(view.ends(why))
    return Wait(view.ends(SAVES)) if view.confirmed else Confirm()


def _told(view: View, outcome: dict[str, Any], seen: Seen, now: datetime, grace: timedelta) -> Action:
    """The job said how it ended."""
    if outcome["result"] == "completed":
        return Move(Trigger.COMPLETE)
    if outcome["result"] == "stopped":
        return _stopped(view, seen, now, grace)
    kind, reason = FailureKind(outcome["kind"]), str(outcome["reason"])
    if not kind.retryable:
        return Move(Trigger.FAIL, reason, kind)
    if isinstance(seen, Unreachable):
        return Wait(f"{reason}; {seen.reason}")
    if isinstance(seen, RayJob):  # the old driver must be gone before another one touches the same checkpoints
        return StopRay(reason)
    return _again(view, kind, reason)


def _stopped(view: View, seen: Seen, now: datetime, grace: timedelta) -> Action:
    """The job said that it stopped. It is paused once its driver is gone: the next one may come at any time."""
    if not view.leaving:
        return Move(Trigger.CANCEL, "stopped from outside Agon")
    if view.desired != "stop" and isinstance(seen, Unreachable):
        return Wait(f"{view.parted}: {seen.reason}")
    if view.desired != "stop" and isinstance(seen, RayJob):
        return _leave(view, now, grace)
    return view.part()


def _ended_silently(view: View, job: RayJob, tail: str) -> Action:
    """The driver is gone and its last word, if there was one, is not in its log of events."""
    if view.leaving:
        return view.part_unsaved()
    if job.status is RayStatus.STOPPED:
        return Move(Trigger.CANCEL, "stopped through Ray, not through Agon")
    if job.status is RayStatus.SUCCEEDED:
        return Move(Trigger.COMPLETE, "Ray says that it succeeded; its final report never arrived")
    code = "" if job.exit_code is None else f" (exit code {job.exit_code})"
    said = "; its last lines:\n" + tail if tail else f"; Ray says: {job.message}"
    return _lost(view, f"the driver died{code}{said}")


def _lost(view: View, reason: str) -> Action:
    if view.leaving:
        return view.part_unsaved()
    return _again(view, FailureKind.WORKER_LOST if view.started else FailureKind.START_FAILED, reason)


def refused(view: View, reason: str) -> Action:
    """Ray won't take the submission."""
    return _again(view, FailureKind.START_FAILED, f"Ray refused the job: {reason}")


def failed_on_ray(view: View, reason: str) -> Action:
    """Ray answered the submission with an error of its own: that may pass, but isn't waited for for ever."""
    tries = view.tries + 1
    if tries < TRIES:
        told = (
            f"Ray answered with an error of its own when the job was handed over ({tries} of {TRIES} tries): {reason}"
        )
        return Again(told, _backoff(tries + 1))
    return _again(view, FailureKind.START_FAILED, f"Ray couldn't start the job in {tries} tries; it says: {reason}")


def _backoff(count: int) -> timedelta:
    return min(MAX_BACKOFF, timedelta(seconds=2.0 ** min(count, 10) / 2))


def _again(view: View, kind: FailureKind, reason: str) -> Action:
    """The next attempt, if the spec allows one and nobody wants the job to stop."""
    if view.leaving:
        return view.part_unsaved()
    if view.attempt >= view.attempts:
        total = f" (attempt {view.attempt} of {view.attempts})" if view.attempts > 1 else ""
        return Move(Trigger.FAIL, reason + total, kind)
    told = f"attempt {view.attempt} of {view.attempts} was lost, another follows: {reason}"
    return Move(Trigger.RETRY, told, delay=_backoff(view.attempt), cause=kind)
