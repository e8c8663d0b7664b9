"""Jobs on the cluster as they are looked at most of the time: without an owner, many at once. One that goes on as it is needs none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from service.bodies.states import State
from service.db.tables import Job
from service.gateway.ray_jobs import RayJob, RayUnreachableError
from service.reconciler import store
from service.reconciler.actions import Keeper, overdue
from service.reconciler.decide import Seen, Unreachable, Wait, decide_on_ray
from service.reconciler.views import view_of
from service.runs import files


class Glance:
    """Looks for a keeper, and leaves to it whatever there is to be done."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def at(self, numbers: Sequence[int], lease: timedelta) -> tuple[set[int], list[int]]:
        """Look at jobs that nobody owns. Of those that go on as they are this is written, for all at once; their numbers, and those
        of them that were warned of a limit. The others are to be owned, and looked after.

        lease: how long one lasts.
        """
        keeper = self._keeper
        same = {job.number: job for job in store.read(keeper.db, numbers) if self._goes_on(job)}
        if not same:
            return set(), []
        with store.unowned(keeper.db, same, keeper.clock(), lease) as (session, rows):
            moment = keeper.meter.now(session) if rows else None
            warned = [
                row.number
                for row in rows
                if keeper.note(session, row, same[row.number], Wait(row.reason), keeper.clock(), moment)
            ]
            return {row.number for row in rows}, warned

    def _goes_on(self, job: Job) -> bool:
        """Whether there is nothing to be done, and nothing to be said of it but what was said."""
        keeper = self._keeper
        if State(job.state).ended:
            return False
        seen: Seen
        try:
            seen = keeper.ray.status(files.submission_id(job.id, job.attempt))
        except RayUnreachableError as error:
            seen = Unreachable(str(error))
        if isinstance(seen, RayJob):
            path = files.job_dir(keeper.settings, job.id) / files.EVENTS
            if seen.status.ended or overdue(list(keeper.events.after(path, job.acked))):
                return False
        elif seen is None:
            return False
        now = keeper.clock()
        action = decide_on_ray(view_of(job, now), seen, now, keeper.grace)
        return isinstance(action, Wait) and action.reason == job.reason
