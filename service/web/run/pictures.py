"""The sample grids of a run on their timeline, and what happened when."""

from __future__ import annotations

from typing import Any

from service.context import Context
from service.runs import files, timeline
from service.web.run.head import Head

AROUND = 8
"""So many grids are linked before and behind the one that is shown: without scripts one leafs by these."""


def read(ctx: Context, head: Head, step: int | None, *, images: bool) -> dict[str, Any]:
    """For the template. step: the grid that is looked at, by its step or its images; None: the newest."""
    found = timeline.of(ctx.settings.jobs_root, files.job_dir(ctx.settings, head.run.id))
    shown = found.nearest(step, images=images) if step is not None else found.moments[-1] if found.moments else None
    place = found.moments.index(shown) if shown is not None else 0
    return {
        "timeline": found,
        "shown": shown,
        "around": found.moments[max(0, place - AROUND) : place + AROUND + 1],
        "marks": _marks(head),
        "offset": head.run.fork.offset if head.run.fork else 0,
    }


def _marks(head: Head) -> list[list[Any]]:
    """What happened at which images: [images, kind, words]."""
    return [
        [one.images, "checkpoint", f"checkpoint of step {one.step}{', the best' if one.best else ''}"]
        for one in head.checkpoints.items
        if one.images is not None
    ]
