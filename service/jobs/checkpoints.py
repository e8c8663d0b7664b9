"""A job's checkpoints."""

from __future__ import annotations

from collections.abc import Collection

from fastapi import APIRouter

from service.context import Context, Ctx
from service.db.tables import Job
from service.jobs.routes import JobId
from service.runs import checkpointbook, files, scores, store
from service.runs.keeping import Owner
from service.runs.scores import Scores

PATH = "/v1/jobs/{job_id}/checkpoints"


def owner(ctx: Context, job: Job) -> Owner:
    """Whose checkpoints."""

    def scored(steps: Collection[int]) -> Scores:
        with ctx.db.read() as session:
            return scores.of_job(session, job, steps)

    folder, url = files.job_dir(ctx.settings, job.id), PATH.format(job_id=job.id)
    return Owner(folder, f"job {job.id}", url, job.id, job.id, scored)


def _find(job_id: JobId, ctx: Ctx) -> Owner:
    """Raises NotFound."""
    with ctx.db.read() as session:
        job = store.get(session, job_id)
    return owner(ctx, job)


router = APIRouter(tags=["jobs"])
checkpointbook.add(router, PATH, _find)
