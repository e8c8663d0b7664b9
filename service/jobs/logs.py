"""A job's logs: its driver's and its workers'."""

from __future__ import annotations

from fastapi import APIRouter

from service.context import Ctx
from service.jobs.routes import JobId
from service.runs import files, logbook, store
from service.runs.logowner import Owner


def _find(job_id: JobId, ctx: Ctx) -> Owner:
    """Raises NotFound."""
    with ctx.db.read() as session:
        job = store.get(session, job_id)
    return Owner(job, files.job_dir(ctx.settings, job.id), f"job {job.id}", f"/v1/jobs/{job.id}/logs")


router = APIRouter(tags=["jobs"])
logbook.add(router, "/v1/jobs/{job_id}/logs", _find)
