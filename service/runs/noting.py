"""What people note about a run, its name, labels and notes, reaches its record in MLflow: whenever it is edited, also after the end.

An edit leaves word in the run's row, and its answer waits for nobody; whoever runs `keep_told` tells MLflow, and again until it
answers. Two may tell at once, or one be late with what is no longer so: the record keeps to the newest, and one who finds that
more was noted meanwhile has it told once more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, text, update
from starlette.concurrency import run_in_threadpool

from service.context import Context
from service.db.noted import UNTOLD
from service.db.session import Database
from service.db.tables import AT_ONCE, Job
from service.elsewhere import Errand
from service.gateway.notes import Note
from service.gateway.registry import Registry, RegistryMissingError, RegistryRefusedError, RegistryUnreachableError

NOTED = ("name", "labels", "notes")
EVERY_SECONDS = 5.0
LEASE = timedelta(seconds=90)
"""So long whoever has begun to tell it has for that, before another begins."""
PAUSE, LONG_PAUSE = timedelta(seconds=30), timedelta(hours=1)
"""Before MLflow is asked again: after it was away, and after it refused, as it does while the experiment is deleted."""
MOST = 100
logger = logging.getLogger("agon.notes")


def edited(job: Job, fields: Collection[str]) -> None:
    """Leave word that these were edited. The caller holds the row's lock, and has written the spec."""
    if not fields:
        return
    job.noted, job.untold_at = job.noted + 1, AT_ONCE
    _leave(job, fields)


async def keep_told(ctx: Context, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
    """Look now and then, for ever."""
    while ctx.registry is not None:
        try:
            for number in await run_in_threadpool(due, ctx.db, datetime.now(UTC)):
                if not await ctx.elsewhere.notes.run(tell, ctx.db, ctx.registry, number, errand=Errand("notes")):
                    break
        except Exception:  # the database's trouble or a call that hangs: the next look tries again
            logger.warning("MLflow can't be told of what was noted; trying again", exc_info=True)
        await sleep(EVERY_SECONDS)


def due(db: Database, now: datetime) -> Sequence[int]:
    """Numbers of runs of which MLflow is to be told something now."""
    with db.read() as session:
        found = select(Job.number).where(text(UNTOLD), Job.untold_at <= now)
        return session.scalars(found.order_by(Job.untold_at).limit(MOST)).all()


def tell(db: Database, registry: Registry, number: int, now: datetime | None = None) -> bool:
    """Tell MLflow what was noted about a run, unless another does. False: MLflow is away."""
    now = now or datetime.now(UTC)
    begun = _begin(db, number, now)
    if begun is None:
        return True
    record, note, fields = begun
    pause = None
    try:
        registry.note(record, note)
    except RegistryMissingError:
        logger.info("MLflow has no record of it any more", extra={"facts": {"run": note.run_id}})
    except RegistryRefusedError as error:
        pause = LONG_PAUSE
        logger.warning("MLflow refused what was noted", extra={"facts": {"run": note.run_id, "reason": str(error)}})
    except RegistryUnreachableError:
        pause = PAUSE
    with db.begin() as session:
        row = session.scalar(select(Job).where(Job.number == number).with_for_update())
        if row is not None:
            _end(row, note.count, fields, None if pause is None else now + pause)
    return pause != PAUSE


def _begin(db: Database, number: int, now: datetime) -> tuple[str, Note, list[str]] | None:
    """The record, and what it is to be told; None: nothing now."""
    with db.begin() as session:
        mine = update(Job).where(Job.number == number, text(UNTOLD), Job.untold_at <= now)
        if session.scalar(mine.values(untold_at=now + LEASE).returning(Job.number)) is None:
            return None
        job = session.get_one(Job, number, populate_existing=True)
        fields = [name for name in job.untold.split(",") if name]
        what = {name: job.spec.get(name) for name in fields}
        return str(job.mlflow_run_id), Note(job.id, job.noted, **what), fields


def _end(job: Job, count: int, fields: Collection[str], again_at: datetime | None) -> None:
    """What was told, as noted at that count, is told, or will be at that time."""
    if again_at is None and job.noted == count:
        job.untold, job.untold_at = "", None
    elif job.noted == count:
        job.untold_at = again_at
    else:  # noted since: whoever has told that may have come before this
        job.untold_at = AT_ONCE if again_at is None else again_at
        _leave(job, fields)


def _leave(job: Job, fields: Collection[str]) -> None:
    kept = {*job.untold.split(","), *fields}
    job.untold = ",".join(name for name in NOTED if name in kept)
