"""What a job has measured over its training."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Query, Response

from service.access.callers import Away, User
from service.bodies.curves import Curves
from service.context import Context, Ctx
from service.etags import ASK, UNCHANGED, IfNoneMatch, matches
from service.jobs.routes import JobId
from service.runs import curves, descent, store

MOST_BUCKETS = 1000
router = APIRouter(tags=["jobs"])
Metrics = Annotated[
    list[Annotated[str, Query(max_length=200)]], Query(max_length=100, description="Only these; none: all.")
]
Buckets = Annotated[int, Query(ge=1, le=MOST_BUCKETS, description="Points of a curve, at most.")]
Lineage = Annotated[
    bool, Query(description="Also what its nets had learned before: the curves of the jobs that it goes back to.")
]


@router.get("/v1/jobs/{job_id}/curves", response_model=Curves, responses=UNCHANGED)
async def show(
    job_id: JobId,
    ctx: Ctx,
    caller: User,
    errand: Away,
    metric: Metrics = [],  # noqa: B006 — FastAPI reads it, nobody writes it
    buckets: Buckets = 200,
    lineage: Lineage = False,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Every curve of a job over the images shown: losses, speed, the sentinel's measures, scores; in buckets, each with its mean, least,
    greatest and newest value. What a roll back or a restart has undone is left out. With `If-None-Match` a poll costs little.

    A fork's `offset` is what its nets were shown before its own 0. With `lineage=true` the curves of the jobs that it goes back to,
    up to each fork, stand before its own.
    """
    asked = (frozenset(metric), buckets, lineage)
    return await ctx.elsewhere.curves.run(_read, ctx, job_id, asked, if_none_match, errand=errand)


def _read(ctx: Context, job_id: str, asked: tuple[frozenset[str], int, bool], known: str | None) -> Response:
    metrics, buckets, lineage = asked
    with ctx.db.read() as session:
        job = store.get(session, job_id)
        line = descent.descent(session, job) if lineage else descent.alone(job)
        seen = [(share.job.id, share.job.acked) for share in line.shares]
        varies = repr((seen, sorted(metrics), buckets, lineage))
        digest = hashlib.sha256(varies.encode()).hexdigest()[:32]
        headers = {"ETag": f'"{digest}"', "Cache-Control": ASK}
        if matches(known, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        found = curves.curves(session, line, buckets, metrics)
    return Response(found.model_dump_json(), headers=headers, media_type="application/json")
