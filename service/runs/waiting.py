"""Why a run isn't running, and when it will be: from the rows and the cluster as it was last seen.

Nothing is kept of it: it is worked out whenever someone asks, and costs the same however many wait behind the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from service.bodies.waiting import Delay, Waiting
from service.db.session import Database, beside
from service.db.tables import Job
from service.runs import caps, hours, lines, order, served, sight, spans
from service.runs.kinds import SEARCH
from service.runs.telling import AHEAD, Around, Teller, brief, waits

NEAR = 20
"""Up to this place in the line a list tells when a run starts."""


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
    first = lines.promised(session)
    ahead = lines.ahead(session, job, first, now, AHEAD + 1)
    look = _Look(session, first, now)
    return look.tell(job, ahead, lines.count_ahead(session, job, first, now))


def near(
    session: Session, jobs: Iterable[Job], now: datetime, most: int = NEAR, *, cheaper: bool = False
) -> dict[int, Waiting]:
    """As `briefly`, with what `fully` tells of those that are among the first `most` in line: what is around them is read once.

    cheaper: with what would start them sooner, which takes the most time.
    """
    found = [job for job in jobs if waits(job)]
    told = briefly(session, found, now)
    close = [job for job in found if (place := told[job.number].position) is None or place <= most]
    if not close:
        return told
    first = lines.promised(session)
    line, look = lines.line(session, first, now, most), _Look(session, first, now)
    for job in close:
        ahead = [row for row in line if lines.turn(row, first) < lines.turn(job, first)]
        if len(ahead) < most:
            told[job.number] = look.tell(job, ahead, len(ahead), cheaper=cheaper)
    return told


class _Look:
    """What is around all of them, read once."""

    def __init__(self, session: Session, first: Mapping[int, tuple[str, ...]], now: datetime) -> None:
        self._session, self._now = session, now
        running, known, seen = lines.running(session), caps.read(session), sight.seen(session, now)
        self._around = Around(
            nodes=seen.nodes,
            running=running,
            ahead=(),
            before=0,
            first=first,
            caps=known,
            spent=hours.spent(session, known, now),
            trials=lines.trials(session, [row.number for row in running if row.kind == SEARCH.name]),
            served=served.needs(session),
            drivers=seen.drivers,
        )
        lengths = cache(lambda family: lines.lengths(session, family))
        self._pace = cache(lambda family, name: spans.pace(lengths(family), name))
        self._came = cache(lambda priority: lines.came(session, priority, now))

    def tell(self, job: Job, ahead: Sequence[Row[Any]], before: int, *, cheaper: bool = True) -> Waiting:
        """All of one. ahead: the first in the line before it; before: how many there are."""
        around = self._around._replace(ahead=ahead, before=before, came=self._came(job.priority))
        told = Teller(job, around, self._pace, self._now).tell(cheaper=cheaper)
        return told.model_copy(update={"delay": _delay(self._session, job, self._now)})


def _delay(session: Session, job: Job, now: datetime) -> Delay | None:
    if not job.delay:
        return None
    load, passed = job.load or {}, lines.count_passed(session, job, now)
    hours = job.delay / order.POINT
    return Delay(hours=hours, used_hours=load.get("used", 0.0), held_hours=load.get("held", 0.0), passed_by=passed)
