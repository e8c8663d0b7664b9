"""Why a run isn't running, and when it will be: from the rows and the cluster as it was last seen.

Nothing is kept of it: it is worked out whenever someone asks, and costs the same however many wait behind the run.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache

from sqlalchemy.orm import Session

from service.bodies.waiting import Delay, Waiting
from service.db.session import Database, beside
from service.db.tables import Job
from service.runs import caps, hours, lines, order, served, sight, spans
from service.runs.kinds import SEARCH
from service.runs.telling import AHEAD, Around, Teller, brief, waits


def briefly(session: Session, jobs: Iterable[Job], now: datetime) -> dict[int, Waiting]:
    """Of those that wait, by number: what a list has of it."""
    found = [job for job in jobs if waits(job)]
    if not found:
        return {}
    first, nodes = lines.promised(session), sight.cluster(session, now)
    if len(found) == 1:
        places = {found[0].number: lines.count_ahead(session, found[0], first, now) + 1}
    else:
        places = lines.places(session, first, now)
    return {job.number: brief(job, nodes, first, places.get(job.number), now) for job in found}


def shortly(db: Database, job: Job) -> Waiting | None:
    """The same of one, read on its own; None if it doesn't wait."""
    if not waits(job):
        return None
    now = datetime.now(UTC)
    with db.look() as connection:
        row = connection.execute(_ALONE, lines.before(job, now)).one()
    if row.yields is None:
        return brief(job, sight.told(row.content, row.seen_at, now), {}, row.ahead + 1, now)
    with db.read() as session:  # some make room for others, perhaps for this one
        return briefly(session, [job], now)[job.number]


_ALONE = beside(sight.SEEN, lines.BEFORE, lines.ANY_YIELDS)  # made once: every submission executes it


def fully(session: Session, job: Job, now: datetime) -> Waiting | None:
    """All of it; None if it doesn't wait."""
    if not waits(job):
        return None
    first, running = lines.promised(session), lines.running(session)
    known = caps.read(session)
    around = Around(
        nodes=sight.cluster(session, now),
        running=running,
        ahead=lines.ahead(session, job, first, now, AHEAD + 1),
        before=lines.count_ahead(session, job, first, now),
        first=first,
        caps=known,
        spent=hours.spent(session, known, now),
        trials=lines.trials(session, [row.number for row in running if row.kind == SEARCH.name]),
        came=lines.came(session, job, now),
        served=served.needs(session),
    )
    pace = cache(lambda family, name: spans.pace(lengths(family), name))
    lengths = cache(lambda family: lines.lengths(session, family))
    return Teller(job, around, pace, now).tell().model_copy(update={"delay": _delay(session, job, now)})


def _delay(session: Session, job: Job, now: datetime) -> Delay | None:
    if not job.delay:
        return None
    load, passed = job.load or {}, lines.count_passed(session, job, now)
    hours = job.delay / order.POINT
    return Delay(hours=hours, used_hours=load.get("used", 0.0), held_hours=load.get("held", 0.0), passed_by=passed)
