"""The logs of a run, by attempt and rank: the last lines of one, or the lines of all that have a word."""

from __future__ import annotations

import threading
from typing import Any

from starlette.concurrency import run_in_threadpool

from service.context import Context
from service.elsewhere import Errand
from service.runs import files, logs, logsearch
from service.runs.logowner import DRIVER, Owner
from service.runs.logs import Log
from service.runs.logsearch import Wanted, place_of
from service.web.run.head import Head
from trainer.plain import plain

LINES = 200
"""At the end of a log, at first; a script follows it from there."""
HITS = 100
RANKS = 200
"""To choose from, at most."""


async def read(
    ctx: Context, errand: Errand, head: Head, attempt: int | None, rank: str | None, words: str, cursor: str | None
) -> dict[str, Any]:
    """For the template. Raises NotFound, Unavailable."""
    folder = files.job_dir(ctx.settings, head.run.id)
    owner = Owner(head.row, folder, f"job {head.run.id}", f"/v1/jobs/{head.run.id}/logs")
    kept = await run_in_threadpool(logs.logs, ctx.settings.jobs_root, folder)
    which = owner.attempt(attempt)
    if attempt is None and kept:  # a newer one has printed nothing yet
        which = kept[0].attempt
    number = _first(head, kept, which) if rank is None else owner.rank(rank)
    of_attempt = [log for log in kept if log.attempt == which]
    facts = {
        "attempt": which,
        "attempts": sorted({log.attempt for log in kept} | {which}, reverse=True),
        "rank": DRIVER if number is None else str(number),
        "ranks": [DRIVER if log.rank is None else str(log.rank) for log in of_attempt[:RANKS]],
        "words": words,
        "hits": None,
        "following": None,
        "tail": "",
    }
    if words:
        stop, begin = threading.Event(), None if cursor is None else place_of(cursor)
        wanted, searched = Wanted.of([words], False, 0), of_attempt if rank is None else [owner.log(ctx, which, number)]
        found = await ctx.elsewhere.logs.run(
            logsearch.search, searched, wanted, HITS, begin, stop, errand=errand, stop=stop
        )
        return facts | {"hits": found.hits, "following": found.following.cursor() if found.following else None}
    piece = await run_in_threadpool(logs.tail, owner.log(ctx, which, number), LINES)
    return facts | {"tail": plain(piece.text), "place": f"{which}-{piece.end}"}


def _first(head: Head, kept: list[Log], attempt: int) -> int | None:
    """Which one looks at first: of the worker that failed, of rank 0, else of the driver."""
    ranks = [log.rank for log in kept if log.attempt == attempt]
    failed = head.run.failure.rank if head.run.failure else None
    return next((rank for rank in (failed, 0) if rank is not None and rank in ranks), None)
