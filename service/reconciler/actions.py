"""One owned job: ask Ray, decide, act, write. The only place that changes a job on the cluster."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from service.access import store as tokens
from service.access.tokens import Scope, new_token
from service.bodies.states import State
from service.db.session import Database
from service.db.tables import AT_ONCE, Job
from service.gateway.ray_jobs import RayFailedError, RayJob, RayJobs, RayRefusedError, RayUnreachableError
from service.reconciler import store
from service.reconciler.decide import (
    Action,
    Again,
    Confirm,
    Ended,
    Move,
    Seen,
    Spend,
    StopRay,
    Submit,
    Unreachable,
    Wait,
    decide_on_ray,
    failed_on_ray,
    refused,
)
from service.reconciler.meter import Meter
from service.reconciler.views import view_of
from service.runs import files, ingest, limits
from service.runs import store as jobs
from service.runs.kinds import kind_of, need_of
from service.runs.lifecycle import Trigger
from service.settings import Settings
from trainer import spans
from trainer.plain import plain
from trainer.wire import WireEvent

TAIL_LINES = 15
SILENT = timedelta(seconds=10)
"""An event that old which nobody delivered is fetched from the job's own log."""
UNREACHABLE_PAUSE = timedelta(seconds=10)
LOG_PATIENCE = timedelta(minutes=10)
"""So long after its end Ray is asked for a log that it doesn't give."""
logger = logging.getLogger("agon.reconciler")


class Keeper:
    """Looks after jobs that a lease of its reconciler covers."""

    def __init__(
        self, db: Database, ray: RayJobs, settings: Settings, clock: Callable[[], datetime], meter: Meter
    ) -> None:
        self.db, self.ray, self.settings, self.clock, self.meter = db, ray, settings, clock, meter
        self.events = files.EventLog()

    def look_after(self, job: Job) -> None:
        """Raises LostLeaseError if the job has another owner by now, or changed: then nothing was written."""
        seen = self._ask(job)
        if seen is None or isinstance(seen, RayJob | Ended):
            job = self._take_own_log(job, all_of_it=not isinstance(seen, RayJob))
        if State(job.state).ended:
            self._part(job, seen)
        else:
            now = self.clock()
            self._act(job, decide_on_ray(view_of(job, now), seen, now, self.grace))

    @property
    def grace(self) -> timedelta:
        """In which a job that is stopped ends by itself."""
        return timedelta(seconds=self.settings.stop_grace_seconds)

    @property
    def _pause(self) -> timedelta:
        return min(timedelta(seconds=self.settings.poll_seconds), store.LONGEST_PAUSE)

    def postpone(self, job: Job, reason: str) -> None:
        """Stay as it is and look again soon."""
        try:
            self._write(job, Wait(reason), as_decided=False)
        except store.LostLeaseError:
            return

    # -- what is

    def _ask(self, job: Job) -> Seen:
        name = files.submission_id(job.id, job.attempt)
        try:
            found = self.ray.status(name)
            if found is None or not found.status.ended:
                return found
        except RayUnreachableError as error:
            return Unreachable(str(error))
        log = self._keep_log(job, job.attempt)
        kept = files.end_of_log(self.settings, job, job.attempt, TAIL_LINES)
        tail = kept or "\n".join(plain(log).rstrip().splitlines()[-TAIL_LINES:])
        return Ended(replace(found, message=plain(found.message)), tail)

    def _keep_log(self, job: Job, attempt: int) -> str:
        """What Ray has of an attempt whose driver is gone and left no log in the job's folder, now kept there: Ray forgets it
        with its head. Empty if there is nothing to be kept."""
        if files.has_log(self.settings, job, attempt):
            return ""
        try:
            log = self.ray.logs(files.submission_id(job.id, attempt))
        except RayUnreachableError:
            return ""
        if log is not None:
            with suppress(OSError):  # a full disk must not keep the job from ending
                files.save_log(self.settings, job, attempt, log)
        return log or ""

    def _take_own_log(self, job: Job, *, all_of_it: bool) -> Job:
        """Ingest what the job wrote down but could not deliver; the row after that."""
        path = files.job_dir(self.settings, job.id) / files.EVENTS
        while events := [event for event in self.events.after(path, job.acked) if event.attempt <= job.attempt]:
            if not all_of_it and not overdue(events):
                return job
            before = job.acked
            with store.owned(self.db, job, as_decided=False) as (session, row):
                ingest.take(session, row, events)
                session.flush()
                job = row
            if not all_of_it or job.acked == before:  # the latter: what is left has a gap
                break
        if all_of_it:
            self.events.forget(path)
        return job

    # -- after the end

    def _part(self, job: Job, seen: Seen) -> None:
        """A job that told its end is over before its driver is gone. Once it is, its last events are in and its log is kept."""
        over = seen is None or (
            isinstance(seen, Ended) and (files.has_log(self.settings, job, job.attempt) or not _recent(job))
        )
        with store.owned(self.db, job, as_decided=False) as (_, row):
            row.watched = not over and State(row.state).ended
            pause = max(self._pause, UNREACHABLE_PAUSE) if isinstance(seen, Unreachable) else self._pause
            store.release(row, self.clock() + pause)

    # -- what to do

    def _act(self, job: Job, action: Action) -> None:
        if isinstance(action, Submit):
            action = self._submit(job)
        elif isinstance(action, StopRay):
            self._stop(job)
        self._write(job, action, as_decided=isinstance(action, Move | Spend))

    def _submit(self, job: Job) -> Action:
        """The run's file with its token, then Ray."""
        with spans.span("hand over", attributes={f"agon.{job.kind}": job.id, "agon.attempt": job.attempt}) as span:
            action = self._hand_over(job)
            span.set({}, error=None if isinstance(action, Confirm) else type(action).__name__.lower())
        return action

    def _hand_over(self, job: Job) -> Action:
        path = self._run_file(job)
        command = shlex.join([self.settings.driver_python, "-m", kind_of(job).module, str(path)])
        name = files.submission_id(job.id, job.attempt)
        try:
            if self._lingers(job):
                return Wait("the attempt before this one is still ending")
            self.ray.submit(name, command, _facts(job))
        except RayUnreachableError as error:
            return Wait(f"{error}; the job will be handed over as soon as it answers")
        except RayFailedError as error:
            return failed_on_ray(view_of(job, self.clock()), str(error))
        except RayRefusedError as error:
            return refused(view_of(job, self.clock()), str(error))
        logger.info("submitted")
        return Confirm()

    def _run_file(self, job: Job) -> Path:
        """Written once an attempt. Its token is known before anyone can read it there, and not made at all if it can't be written.

        It takes its place while nobody else can go on with the run: a slow one would put it over the next attempt's.
        """
        with store.owned(self.db, job, as_decided=True) as (session, _):
            written = files.written_token(self.settings, job)
            if written is not None and tokens.is_of(session, written, job.id, job.attempt):
                return files.run_file(self.settings, job)
        token = new_token()
        with files.run_file_draft(self.settings, job, token) as publish:
            with store.owned(self.db, job, as_decided=True) as (session, _):
                tokens.add(session, token, job.id, Scope.JOB, job.id, job.attempt)
            with store.owned(self.db, job, as_decided=True):
                return publish()

    def _lingers(self, job: Job) -> bool:
        """Whether the driver of the attempt before is there yet: one that has said its last word, and whose run was extended."""
        before = self.ray.status(files.submission_id(job.id, job.attempt - 1)) if job.attempt > 1 else None
        if before is not None and before.status.ended:
            self._keep_log(job, job.attempt - 1)
        return before is not None and not before.status.ended

    def _stop(self, job: Job) -> None:
        try:
            self.ray.stop(files.submission_id(job.id, job.attempt))
        except RayUnreachableError:
            return  # the next round tries again

    # -- writing it down

    def _write(self, job: Job, action: Action, *, as_decided: bool) -> None:
        with store.owned(self.db, job, as_decided=as_decided) as (session, row):
            self.note(session, row, job, action, self.clock())

    def note(
        self, session: Session, row: Job, job: Job, action: Action, now: datetime, moment: datetime | None = None
    ) -> bool:
        """Write it into the locked row, and give the lease back; whether the run was warned of a limit.

        job: as it was decided of. moment: see `Meter.count`.
        """
        due = AT_ONCE if row.revision != job.revision else now + self._pause
        counted = self.meter.count(session, row, moment)
        if isinstance(action, Move):
            due = self._move(session, row, action, now) or due
        elif isinstance(action, Again):
            row.reason, row.tries = action.reason, row.tries + 1
            due = max(due, now + action.delay) if row.revision == job.revision else due
        elif isinstance(action, Confirm):
            row.submitted_at, row.reason = datetime.now(UTC), row.reason or "the driver starts the workers"
            due = AT_ONCE if State(row.state) is State.STOPPING else due
        elif isinstance(action, Spend) and row.desired == "run":
            row.spent, due = limits.over(row, now), AT_ONCE
            jobs.want(row, "stop")
        elif isinstance(action, Wait | StopRay) and row.reason != action.reason:
            row.reason = action.reason
        self.meter.mark(row, counted)
        warnings = list(limits.warnings(row, now))
        for warning in warnings:
            jobs.note(session, row, warning)
        if row.stop_at is not None:  # further ahead than that only by a clock that was set back since
            row.stop_at = min(row.stop_at, now + self.grace)
        store.release(row, due)
        return bool(warnings)

    def _move(self, session: Session, row: Job, action: Move, now: datetime) -> datetime | None:
        """Change the state; when to look next, if not after the usual pause."""
        jobs.move(session, row, action.trigger, action.reason, _failure(action), action.cause)
        logger.info("moved", extra={"facts": {"state": row.state, "reason": row.reason}})
        if action.trigger is Trigger.STOP:
            row.stop_at = now + (action.grace or timedelta())
            return AT_ONCE
        return now + action.delay if action.trigger in (Trigger.RETRY, Trigger.YIELD) else None


def _facts(job: Job) -> dict[str, str]:
    """What whoever takes the attempt may know of it."""
    need = need_of(job)
    size = {"agon_workers": str(need.workers), "agon_cpus": f"{need.cpus:g}", "agon_gpus": f"{need.gpus:g}"}
    return {"agon_job": job.id, "agon_attempt": str(job.attempt), "agon_name": job.name, **size}


def _failure(move: Move) -> dict[str, Any] | None:
    """As the row has it."""
    if move.failure is None:
        return None
    rank = {} if move.rank is None else {"rank": move.rank}
    return {"kind": move.failure.value, "reason": move.reason, **rank}


def overdue(events: list[WireEvent]) -> bool:
    """Whether somebody should have delivered them by now. Their worker's clock may be another one: what comes from the future is no
    younger."""
    return bool(events) and abs(datetime.now(UTC) - events[0].time) > SILENT


def _recent(job: Job) -> bool:
    return job.finished_at is not None and abs(datetime.now(UTC) - job.finished_at) < LOG_PATIENCE
