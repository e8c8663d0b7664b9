"""The reconciler: makes what runs match what was asked for. Several may run at once.

Each round: admit from the queue, in order of arrival; then look after each job on the cluster that is due. For one job:
take a lease, ask Ray, decide (pure), act, write the result under the lease's fence. Killed at any point, the next round of
any reconciler goes on: an attempt is written down before Ray hears of it, and its name in Ray follows from it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from service.db.session import Database
from service.db.tables import Job
from service.gateway.ray_jobs import Node, RayJobs, RayUnreachableError
from service.jobs import store as jobs
from service.jobs.kinds import kind_of
from service.jobs.lifecycle import IllegalTransitionError, State, Trigger
from service.reconciler import files, store
from service.reconciler.actions import Keeper
from service.reconciler.admission import Need, why_wait
from service.reconciler.decide import Admit, Move, Wait, decide_queued
from service.reconciler.views import view_of
from service.settings import Settings

BATCH = 100
SWEEP_SECONDS = 60.0
logger = logging.getLogger("agon.reconciler")


class Reconciler:
    """One of perhaps several. `round` does all that is due; `run` repeats it until told to stop."""

    def __init__(
        self,
        db: Database,
        ray: RayJobs,
        settings: Settings,
        owner: str,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        changed: Callable[[int], None] = lambda number: None,
    ) -> None:
        self.db, self.ray, self.settings, self.owner = db, ray, settings, owner
        self.clock, self.changed = clock, changed
        self.lease = timedelta(seconds=settings.lease_seconds)
        self.keeper = Keeper(db, ray, settings, clock)
        self._next_sweep = time.monotonic() + SWEEP_SECONDS

    def run(self, bell: threading.Event, stopping: threading.Event) -> None:
        """Until `stopping`; `bell` starts a round at once."""
        while not stopping.is_set():
            bell.clear()
            try:
                self.round()
            except Exception:
                logger.exception("round failed; trying again")
                stopping.wait(1.0)
            bell.wait(self.settings.poll_seconds)

    def round(self) -> None:
        """Everything that is due now."""
        if store.anyone_waits(self.db):
            for admitted in self._admit():
                self._look_after(admitted)
        for number in store.due(self.db, self.clock(), BATCH):
            job = store.claim(self.db, number, self.owner, self.clock(), self.lease)
            if job is not None:
                self._look_after(job)
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + SWEEP_SECONDS
            self.sweep()

    def _look_after(self, job: Job) -> None:
        """One owned job. Whatever goes wrong with it concerns no other."""
        try:
            self.keeper.look_after(job)
        except (store.LostLeaseError, IllegalTransitionError):
            store.give_up(self.db, job, self.clock())
        except SQLAlchemyError:
            raise
        except Exception as error:
            logger.exception("job failed to reconcile", extra={"facts": {"job": job.id}})
            self.keeper.postpone(job, f"the control plane has a problem with this job: {error}")
        self.changed(job.number)

    # -- the queue

    def _admit(self) -> list[Job]:
        """Start what the cluster can hold, say of the rest what it waits for. Returns the started ones, owned."""
        nodes = self._nodes()
        now, admitted, touched = self.clock(), [], []
        with store.queue(self.db) as (session, waiting, active):
            taken = [kind_of(job).need(job.spec) for job in active]
            ahead: list[Need] = []
            for job in waiting:
                if job.desired == "run" and job.due_at > now:
                    continue  # a lost attempt's pause
                need = kind_of(job).need(job.spec)
                obstacle = nodes if isinstance(nodes, str) else why_wait(nodes, taken, ahead, need)
                action = decide_queued(view_of(job), obstacle)
                if isinstance(action, Admit):
                    job.attempt += 1
                    jobs.move(session, job, Trigger.ADMIT, "", now)
                    job.lease_owner, job.lease_until, job.fence = self.owner, now + self.lease, job.fence + 1
                    taken.append(need)
                    admitted.append(job)
                elif isinstance(action, Move):
                    jobs.move(session, job, action.trigger, action.reason, now)
                    touched.append(job)
                elif isinstance(action, Wait):
                    ahead.append(need)
                    if job.state == State.SUBMITTED:
                        jobs.move(session, job, Trigger.WAIT, action.reason, now)
                        touched.append(job)
                    elif job.reason != action.reason:
                        job.reason = action.reason
        for job in touched:
            self.changed(job.number)
        return admitted

    def _nodes(self) -> list[Node] | str:
        """The cluster, or why nothing is known of it."""
        try:
            return self.ray.nodes()
        except RayUnreachableError as error:
            return str(error)

    # -- leftovers

    def sweep(self) -> None:
        """Stop what runs on Ray though its job has ended or has a newer attempt: a submission that arrived late."""
        try:
            alive = [job.submission_id for job in self.ray.submissions() if not job.status.ended]
            parsed = [found for name in alive if (found := files.parse_submission_id(name))]
            grace = timedelta(seconds=self.settings.stop_grace_seconds)
            for job_id, attempt in parsed:
                if store.stale(self.db, {job_id: attempt}, self.clock() - grace):
                    self.ray.stop(files.submission_id(job_id, attempt))
        except RayUnreachableError:
            return
