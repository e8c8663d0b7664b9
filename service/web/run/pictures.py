"""The sample grids of a run on their timeline, and what happened when."""

from __future__ import annotations

from typing import Any

from service.context import Context
from service.runs import checkpoints, files, timeline
from service.runs.timeline import Timeline
from service.web.run import happened
from service.web.run.happened import Finding
from service.web.run.head import Head

AROUND = 8
"""So many grids are linked before and behind the one that is shown: without scripts one leafs by these."""


def read(ctx: Context, head: Head, step: int | None, *, images: bool) -> dict[str, Any]:
    """For the template. step: the grid that is looked at, by its step or its images; None: the newest."""
    root, folder = ctx.settings.jobs_root, files.job_dir(ctx.settings, head.run.id)
    found, kept = timeline.of(root, folder), checkpoints.named(root, folder)
    shown = found.nearest(step, images=images) if step is not None else found.moments[-1] if found.moments else None
    place = found.moments.index(shown) if shown is not None else 0
    with ctx.db.read() as session:
        collapses = happened.findings(session, head.row, found, kept)
    return {
        "timeline": found,
        "shown": shown,
        "around": found.moments[max(0, place - AROUND) : place + AROUND + 1],
        "findings": collapses,
        "summary": happened.summary(collapses),
        "marks": _marks(found, kept, collapses),
        "offset": head.run.fork.offset if head.run.fork else 0,
    }


def _marks(grids: Timeline, kept: list[int], collapses: list[Finding]) -> list[list[Any]]:
    """What happened at which images: [images, kind]."""
    saved = [[grids.images(step), "checkpoint"] for step in kept]
    return [mark for mark in [*saved, *([one.images, one.kind] for one in collapses)] if mark[0] is not None]
