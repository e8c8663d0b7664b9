"""The reconciler: makes what runs match what was asked for. Several may run at once.

Each round: admit from the queue, in order of priority and arrival; then look at the jobs on the cluster that are due. What goes on as
it is needs no owner: that it was looked at is written if nobody has changed it since. Else, for one job: take a lease, ask Ray, decide
(pure), act, write the result under the lease's fence. Killed at any point, the next round of any reconciler goes on: an attempt is
written down before Ray hears of it, and its name in Ray follows from it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from service import tallies
from service.access import store as tokens
from service.db.session import Database
from service.db.tables import Job
from service.db.times import database_time, time_in
from service.errors import BUSY
from service.gateway.ray_jobs import Node, RayJobs, RayUnreachableError
from service.gateway.ray_serve import RayServe
from service.logs import about
from service.reconciler import displacing, expiry, rows, store
from service.reconciler.actions import Keeper
from service.reconciler.clock import SteadyClock
from service.reconciler.glance import Glance
from service.reconciler.meter import Meter
from service.reconciler.outage import OncePerRound
from service.reconciler.queue import Queue
from service.reconciler.serving import Serving, in_thread
from service.repeats import store as repeats
from service.runs import files, head, hours, tape
from service.runs.growth import grown
from service.runs.lifecycle import IllegalTransitionError
from service.runs.sight import Watch
from service.settings import Settings
from trainer import trace

BATCH = 100
"""Jobs on the cluster that one round looks at."""
TOGETHER = 25
"""Of these so many at once: what is written of them in one transaction nobody waits long for."""
SWEEP_SECONDS = 60.0
LATE = timedelta(hours=1)
"""So long after its end a job may still deliver events: of a driver that Ray lost sight of, or that found the API away."""
IDLE = 4
"""So many times what a round took of a processor passes before the next, however often the bell rings: requests come first."""
LATE_IDLE = 1
"""The same while more jobs are due than a round looks at."""
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
        clock: Callable[[], datetime] | None = None,
        changed: Callable[[int], None] = lambda number: None,
        serve: RayServe | None = None,
        beside: Callable[[Callable[[], None]], None] = in_thread,
    ) -> None:
        """serve: what answers questions to models; None: nothing does. beside: runs its slow calls."""
        self.db, self.ray, self.settings = db, OncePerRound(ray), settings
        self.clock, self.changed, self.owner = clock or SteadyClock(database_time(db)), changed, owner
        self.lease = timedelta(seconds=settings.lease_seconds)
        meter = Meter(self.clock, time_in if clock is None else lambda _: self.clock())
        self.keeper = Keeper(db, self.ray, settings, self.clock, meter)
        self.glance = Glance(self.keeper)
        self.queue = Queue(db, owner, self.lease, self.clock, changed)
        self.serving = Serving(db, serve, settings, self.clock, beside)
        self.sight = Watch(db)
        self._next_sweep = time.monotonic() + SWEEP_SECONDS
        self._behind = False
        """Whether more may be due than the last round has looked at."""
        self._strays: dict[tuple[str, int], datetime] = {}

    def run(self, bell: threading.Event, stopping: threading.Event) -> None:
        """Until `stopping`; `bell` starts a round at once."""
        tallies.round_ended()
        while not stopping.is_set():
            bell.clear()
            busy = time.thread_time()
            try:
                self.round()
                tallies.round_ended()
            except Exception:
                logger.exception("round failed; trying again")
                stopping.wait(1.0)
            idle = LATE_IDLE if self._behind else IDLE
            stopping.wait(min(idle * (time.thread_time() - busy), self.settings.poll_seconds))
            bell.wait(0.0 if self.queue.unfinished or self._behind else self.settings.poll_seconds)
        tallies.reconciler_stopped()

    def round(self) -> None:
        """Everything that is due now."""
        self.ray.begin()
        for number in expiry.look(self.db, self.clock()):
            self.changed(number)
        waits, wanted = rows.anyone_waits(self.db), self.serving.wants()
        nodes = self._nodes() if waits or wanted else None
        if waits and nodes is not None:
            room = None if isinstance(nodes, str) else head.drivers(nodes, self.settings.driver_memory)
            self.sight.see(nodes, datetime.now(UTC), room)
            for admitted in self.queue.look(nodes, self.settings.late(self.clock()), room):
                self._look_after(admitted)
        self.serving.look(nodes, self.queue.line if waits else [])
        due = store.due(self.db, self.clock(), self.lease, BATCH)
        for begin in range(0, len(due), TOGETHER):
            self._look_at(due[begin : begin + TOGETHER])
        self._behind = len(due) == BATCH
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + SWEEP_SECONDS
            self.sweep()

    def _look_at(self, numbers: Sequence[int]) -> None:
        """Jobs on the cluster. Most go on as they are; the others are owned for as long as something is done with them."""
        same, warned = self.glance.at(numbers, self.lease)
        for number in warned:
            self.changed(number)
        for number in numbers:
            if number in same:
                continue
            job = store.claim(self.db, number, self.owner, self.clock(), self.lease)
            if job is not None:
                self._look_after(job)

    def _look_after(self, job: Job) -> None:
        """One owned job. Whatever goes wrong with it concerns no other."""
        found = trace.parse(job.traceparent)
        traced = {"trace_id": found.id} if found else {}
        with about(**{job.kind: job.id}, attempt=job.attempt, **traced), trace.within(found):
            self._keep(job)

    def _keep(self, job: Job) -> None:
        try:
            self.keeper.look_after(job)
        except (store.LostLeaseError, IllegalTransitionError):
            tallies.LEASES_LOST.inc()
            store.give_up(self.db, job, self.clock())
        except BUSY:  # the database's trouble, and so every job's
            raise
        except Exception as error:
            logger.exception("job failed to reconcile")
            self.keeper.postpone(job, f"the control plane has a problem with this job: {error}")
        self.changed(job.number)

    def _nodes(self) -> list[Node] | str:
        """The cluster, or why nothing is known of it."""
        try:
            nodes = self.ray.nodes()
        except RayUnreachableError as error:
            return str(error)
        if (before := self.settings.late(self.clock())) is None:
            return nodes
        with self.db.read() as session:
            return grown(nodes, self.settings.max_nodes, displacing.late(session, before))

    # -- leftovers

    def sweep(self) -> None:
        """Stop what runs on Ray though its job has ended, is paused or has a newer attempt: a submission that arrived late.

        A driver has the grace period, from when it was first found so, to end by itself. And forget the tokens of jobs that ended, or
        were paused, a while ago, what owners used long ago, and answers that are kept no longer.
        """
        tokens.forget_ended(self.db, LATE)
        hours.forget(self.db, self.clock())
        repeats.forget(self.db, datetime.now(UTC), timedelta(hours=self.settings.idempotency_hours))
        while tape.place(self.db):  # where nobody follows all runs, nobody else does
            pass
        try:
            alive = [job.submission_id for job in self.ray.submissions() if not job.status.ended]
            attempts: dict[str, list[int]] = defaultdict(list)
            for job_id, attempt in (found for name in alive if (found := files.parse_submission_id(name))):
                attempts[job_id].append(attempt)
            now, grace = self.clock(), timedelta(seconds=self.settings.stop_grace_seconds)
            self._strays = {name: self._strays.get(name, now) for name in store.strays(self.db, attempts)}
            for name in [name for name, since in self._strays.items() if now - since >= grace]:
                self.ray.stop(files.submission_id(*name))
        except RayUnreachableError:
            return
