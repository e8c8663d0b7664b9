"""What of a run's limits is used up, when one has to be looked at next, and what a person is told: pure functions of row and time.

Waits and times on the cluster are counted in the row, so a restart forgets none, and a pause counts as neither. Who moves a row
calls `moved`; who counts its time on the cluster is `service.reconciler.meter`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from service.bodies.states import State
from service.db.tables import Job
from service.errors import Conflict
from service.runs.kinds import Kind, kind_of
from trainer.spec.limits import WARNED_AT, Limits, period

HOUR = 3600.0
A_LITTLE = timedelta(milliseconds=1)
"""Times are whole microseconds: who looks a little later finds what was foreseen."""


class Use(NamedTuple):
    """How much of a limit is used, in seconds (of `accelerator_hours`: of one GPU)."""

    name: str
    used: float
    limit: float
    rate: float
    """Used up in a second."""

    @property
    def left(self) -> float:
        """Seconds until it is used up, if nothing changes."""
        return self.until(1.0)

    def until(self, share: float) -> float:
        """Seconds until so much of it is used up; at least 0, and infinite where it isn't being used."""
        missing = share * self.limit - self.used
        return 0.0 if missing <= 0 else missing / self.rate if self.rate > 0 else float("inf")

    @property
    def spent(self) -> dict[str, str]:
        """For the row: the limit that ends it."""
        amount = f"{self.limit / HOUR:g}" if self.name == "accelerator_hours" else period(self.limit)
        words = {
            "wait": f"it waited {amount} in the queue",
            "run": f"its {amount} on the cluster are used up",
            "wall": f"{amount} have passed since its submission",
            "accelerator_hours": f"its {amount} GPU-hours are used up",
        }
        return {"limit": self.name, "reason": f"limits.{self.name}: {words[self.name]}"}

    @property
    def warning(self) -> str:
        """For a person, when it is nearly used up."""
        amount = f"{self.limit / HOUR:g} GPU-hours" if self.name == "accelerator_hours" else period(self.limit)
        ends = f"; it ends in about {period(self.left)}, with a checkpoint" if self.left < float("inf") else ""
        return f"limits.{self.name}: {min(1.0, self.used / self.limit):.0%} of {amount} are used{ends}"


def uses(job: Job, now: datetime) -> list[Use]:
    """Of the limits that the run's spec sets and the control plane counts."""
    limits = limits_of(job.spec)
    counts = job.counted_at is not None
    gpus = training_workers(job) * job.worker_gpus
    found = {
        "wait": (waited(job, now), limits.wait, 1.0),
        "run": (job.run_seconds, limits.run, float(counts)),
        "wall": (max(0.0, (now - job.created_at).total_seconds()), limits.wall, 1.0),
        "accelerator_hours": (
            job.accelerator_seconds, limits.accelerator_hours and limits.accelerator_hours * HOUR, gpus * counts,
        ),
    }  # fmt: skip
    return [Use(name, used, limit, rate) for name, (used, limit, rate) in found.items() if limit and used is not None]


def limits_of(spec: Mapping[str, Any]) -> Limits:
    """Of a stored spec: a job's or a search's own. One from before there were limits has none."""
    return Limits.model_validate(spec.get("limits", {}))


def over(job: Job, now: datetime) -> dict[str, str] | None:
    """The limit that is used up, as `jobs.spent` has it; None if none is."""
    return next((use.spent for use in uses(job, now) if use.used >= use.limit), None)


def warnings(job: Job, now: datetime) -> Iterator[str]:
    """What the run has not been warned of yet, which is noted."""
    for use in uses(job, now):
        if WARNED_AT * use.limit <= use.used < use.limit and use.name not in job.warned.split(","):
            job.warned = ",".join(filter(None, (*job.warned.split(","), use.name)))
            yield use.warning


def ends_at(job: Job) -> datetime | None:
    """When the first of its limits ends the run, if nothing changes; None: none does. The same until the row changes."""
    begins = {"wait": job.queued_at or job.created_at, "wall": job.created_at}
    counted = job.counted_at or job.created_at
    ends = [
        begins[use.name] + timedelta(seconds=use.limit) if use.name in begins else counted + timedelta(seconds=use.left)
        for use in uses(job, counted)
        if use.left < float("inf")
    ]
    return min(ends, default=None) if not State(job.state).ended else None


def watch(job: Job, now: datetime) -> None:
    """Write when a run that waits or is paused has to be looked at for its limits. One on the cluster is looked at all the time."""
    state = State(job.state)
    if state.ended or state.on_ray:
        job.limit_at = None
        return
    warned = job.warned.split(",")
    left = [use.until(1.0 if use.name in warned else WARNED_AT) for use in uses(job, now)]
    soonest = min(left, default=float("inf"))
    job.limit_at = now + timedelta(seconds=soonest) + A_LITTLE if soonest < float("inf") else None


def moved(job: Job, state: State, now: datetime) -> None:
    """Count the wait that is over or begins as the row, which is still as it was, gets another state."""
    waits, waited_before = state in (State.SUBMITTED, State.QUEUED), waited(job, now)
    if waits and waited_before is None:
        job.queued_at = now
        job.warned = ",".join(name for name in job.warned.split(",") if name != "wait")
    elif not waits:
        job.queue_seconds += waited_before or 0.0
        job.queued_at = None
    if state not in (State.STOPPING, State.CANCELLED):
        job.spent = None


def waited(job: Job, now: datetime) -> float | None:
    """Seconds in the queue at a stretch; None if it doesn't wait."""
    if State(job.state) not in (State.SUBMITTED, State.QUEUED):
        return None
    return max(0.0, (now - (job.queued_at or job.created_at)).total_seconds())


def training_workers(job: Job) -> int:
    """Workers that train now, as far as is known; of a search: of one trial."""
    return job.workers if kind_of(job).has_trials else job.training_workers or job.workers


def refuse_spent(kind: Kind, job: Job, now: datetime) -> None:
    """Raises Conflict if a run that is to go on would end at once."""
    if (spent := over(job, now)) is not None:
        raise Conflict(
            f"{kind.name} {job.id} would end at once ({spent['reason']}); raise it first: PATCH {kind.path}/{job.id}"
        )
