"""A job's sample grids: all that are kept, each by its step, and their single images."""

from __future__ import annotations

from fastapi import APIRouter

from service.context import Ctx
from service.jobs.routes import JobId
from service.runs import files, gridbook, store
from service.runs.grids import Owner

PATH = "/v1/jobs/{job_id}/samples"


def _find(job_id: JobId, ctx: Ctx) -> Owner:
    """Raises NotFound."""
    with ctx.db.read() as session:
        job = store.get(session, job_id)
    return Owner(files.job_dir(ctx.settings, job.id), f"job {job.id}", PATH.format(job_id=job.id))


router = APIRouter(tags=["jobs"])
gridbook.add(router, PATH, _find)
