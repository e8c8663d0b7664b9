"""What owners have used of late, by the hour. The meter writes it as it counts runs, so it holds what deleted ones used, too.

An hour counts as a whole: what was used a week ago is let go of when the hour is over in which it was used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, delete, func, select
from sqlalchemy.orm import Session

from service.bodies.owners import EVERYONE, Caps
from service.db.session import Database, insert_of
from service.db.tables import OwnerHours

HOUR = 3600.0
WEEK = 7 * 24
"""Hours."""
KEPT = 8 * WEEK
"""So many hours are remembered."""


class Spent(NamedTuple):
    """An owner's GPU-hours of a week, of which all are used."""

    used: float
    most: float
    free_at: datetime | None
    """When enough of them are a week old, if none are used meanwhile; None: never, the owner may have none."""

    def words(self, owner: str) -> str:
        """For a person. They change seldom while runs go on that use more: each change is written."""
        used = f"{self.used:,.0f}" if self.used >= 10 else f"{self.used:.2g}"
        said = f"{owner} may use {self.most:g} GPU-hours a week, and has used {used} in the last seven days"
        return said if self.free_at is None else f"{said}; the next come free at {self.free_at:%Y-%m-%d %H:%M} UTC"


def hour_of(moment: datetime) -> int:
    """Hours of Unix time."""
    return int(moment.timestamp() // HOUR)


def spread(until: datetime, seconds: float) -> dict[int, float]:
    """How many of those seconds, which end then, are in which hour."""
    end, found = until.timestamp(), dict[int, float]()
    begin = end - min(seconds, KEPT * HOUR)
    while begin < end:
        hour = int(begin // HOUR)
        over = min(end, (hour + 1) * HOUR)
        found[hour] = over - begin
        begin = over
    return found


def free_at(used: Iterable[tuple[int, float]], most: float) -> datetime | None:
    """When less than `most` is left of it, as the oldest hours leave the week. used: hours, the oldest first, and what was used in each."""
    hours = list(used)
    left = sum(amount for _, amount in hours)
    for hour, amount in hours:
        left -= amount
        if left < most:
            return datetime.fromtimestamp((hour + WEEK) * HOUR, UTC)
    return None


def add(session: Session, owner: str, until: datetime, seconds: float, cpus: float, gpus: float) -> None:
    """So many CPUs and GPUs were used for so many seconds, which end then."""
    used = [
        {"owner": owner, "hour": hour, "cpu_seconds": part * cpus, "accelerator_seconds": part * gpus}
        for hour, part in spread(until, seconds).items()
    ]
    if used:
        session.connection().execute(_adding(insert_of(session)), used)


@cache
def _adding(insert: Callable[[type[OwnerHours]], Any]) -> Any:
    """The statement, made once: every look at a run executes it."""
    write = insert(OwnerHours)
    added = {name: getattr(OwnerHours, name) + write.excluded[name] for name in ("cpu_seconds", "accelerator_seconds")}
    return write.on_conflict_do_update(index_elements=["owner", "hour"], set_=added)


def gpu_hours(session: Session, now: datetime) -> dict[str, float]:
    """Of each owner who used any, GPU-hours within the last week."""
    asked = select(OwnerHours.owner, func.sum(OwnerHours.accelerator_seconds)).where(_within_week(now))
    return {owner: seconds / HOUR for owner, seconds in session.execute(asked.group_by(OwnerHours.owner))}


def spent(session: Session, caps: Mapping[str, Caps], now: datetime) -> dict[str, Spent]:
    """Of the owners who have used as many GPU-hours as they may within a week. One who may have none need not have used any."""
    if all(each.gpu_hours_week is None for each in caps.values()):
        return {}
    used, found = gpu_hours(session, now), dict[str, Spent]()
    for owner in {*used, *caps} - {EVERYONE}:
        most = (caps.get(owner) or caps.get(EVERYONE) or Caps()).gpu_hours_week
        if most is not None and (has := used.get(owner, 0.0)) >= most:
            asked = select(OwnerHours.hour, OwnerHours.accelerator_seconds).where(
                OwnerHours.owner == owner, _within_week(now)
            )
            by_hour = session.execute(asked.order_by(OwnerHours.hour))
            found[owner] = Spent(has, most, free_at(((hour, seconds / HOUR) for hour, seconds in by_hour), most))
    return found


def forget(db: Database, now: datetime) -> None:
    """Let go of what is older than anyone asks for."""
    with db.begin() as session:
        session.execute(delete(OwnerHours).where(OwnerHours.hour <= hour_of(now) - KEPT))


def _within_week(now: datetime) -> ColumnElement[bool]:
    return and_(OwnerHours.hour > hour_of(now) - WEEK, OwnerHours.accelerator_seconds > 0)
