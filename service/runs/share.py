"""How much later a run counts as submitted, because of what its owner has used and has in hand: a fair share within a priority.

An owner's load is told in hours of the whole cluster: what they used, of which half is forgotten in a week, and an hour for each of their
runs that waits or is on the cluster, as far as it fills the cluster; those of a lower priority are left out. CPUs and GPUs are counted apart,
and that counts of which it is more.
A load of L hours delays by M·L / (M + L) hours: by about L while that is little, and never by M, the most that an administrator allows.

The delay is fixed when a run is submitted, and is part of its place (`service.runs.order`). So two who submit a batch each take turns:
each of their runs finds one more ahead of it of the same owner. A run never gets ahead of an older one of its owner's and its priority. What
is above `of` is pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Integer, String, and_, bindparam, case, func, select, text
from sqlalchemy.orm import Session

from service.bodies.states import State
from service.db.session import beside
from service.db.tables import WAITING, Job, OwnerHours
from service.runs import order, sight
from service.runs.hours import HOUR, KEPT, WEEK, hour_of
from service.runs.kinds import KINDS
from service.runs.order import SECOND

HALF_LIFE = float(WEEK)
"""Hours after which what was used counts half."""
EACH = 1.0
"""Hours for which a run in hand counts, whatever it will take: that is not known."""
DAY = 24
ON_CLUSTER = tuple(state for state in State if state.on_ray)
COMES_BACK = (*ON_CLUSTER, State.PAUSED)
"""These may stand in the line again, at their place."""


class Amount(NamedTuple):
    """Of CPUs and of GPUs: how many there are, or hours of them."""

    cpus: float = 0.0
    gpus: float = 0.0


class Load(NamedTuple):
    """Of an owner, in hours of the whole cluster."""

    used: float = 0.0
    held: float = 0.0
    """For what they have waiting or on the cluster."""


class Share(NamedTuple):
    """What of an owner decides how much later their next run of some priority counts as submitted."""

    used: Amount
    """Hours, decayed."""
    held: Amount
    """What those of their runs take that wait or are on the cluster, of that priority and higher ones."""
    size: Amount | None
    """The cluster as it was last seen; None: it never was."""
    newest: int | None
    """When the last of their runs of that priority that may yet start counts as arrived; None: there is none."""
    latest: int
    """The longest delay among these."""

    @property
    def load(self) -> Load:
        """What delays. While nothing is known of the cluster nothing does."""
        return Load() if self.size is None else load(self.size, self.used, self.held)


def decayed(used: Iterable[tuple[float, float]]) -> float:
    """What counts yet of it. used: how many hours ago, and how much."""
    return math.fsum(amount * 0.5 ** (max(0.0, ago) / HALF_LIFE) for ago, amount in used)


def load(size: Amount, used: Amount, held: Amount) -> Load:
    """By that of which it is the more, of what the cluster has."""
    found = [
        Load(one / there, EACH * other / there) for one, other, there in zip(used, held, size, strict=True) if there > 0
    ]
    return max(found, key=sum, default=Load())


def delay(load: Load, most: float) -> int:
    """Microseconds by which a run counts as submitted later, at most so many hours; 0: nothing delays."""
    hours = sum(load)
    return int(HOUR * SECOND * most * (hours / (most + hours))) if hours > 0 and most > 0 else 0


def behind_own(delay: int, arrived: int, newest: int | None, latest: int) -> int:
    """The same, or so much more that it gets ahead of no older one of its owner's of its priority. newest, latest: as `Share` has them.

    It is never more than one of these two: who comes later waits for less of the older one's delay.
    """
    return delay if newest is None else max(delay, min(newest - arrived, latest))


def of(asked: Connection | Session, owner: str, priority: int, now: datetime) -> Share:
    """Of an owner now, who is about to submit one more of that priority. Reads no run that has ended."""
    row = asked.execute(_HELD, {"of_owner": owner, "of_priority": priority}).one()
    cpus, gpus = (float(one or 0.0) + float(other or 0.0) for one, other in ((row[0], row[4]), (row[1], row[5])))
    places = [place for place in (row[2], row[6]) if place is not None]
    newest = order.arrived(max(places), priority) if places else None
    size = sight.size(row.content)
    latest = max(row[3] or 0, row[7] or 0)
    return Share(used(asked, owner, now), Amount(cpus, gpus), size and Amount(*size), newest, latest)


def used(asked: Connection | Session, owner: str, now: datetime) -> Amount:
    """Hours that count yet. They are read by the day: of those of one, half a day's decay is left out."""
    hour = hour_of(now)
    rows = asked.execute(_USED, {"of_owner": owner, "after": hour - KEPT}).all()
    ago = [hour - DAY * (row[0] + 0.5) for row in rows]
    cpus, gpus = (decayed(zip(ago, (row[which] / HOUR for row in rows), strict=True)) for which in (1, 2))
    return Amount(cpus, gpus)


def _facts(counts: ColumnElement[bool]) -> tuple[ColumnElement[Any], ...]:
    """What runs take together that count; of those of the priority, the last place and the longest delay."""
    takes = (case((counts, Job.workers * each), else_=0.0) for each in (Job.worker_cpus, Job.worker_gpus))
    same = Job.priority == _PRIORITY
    return *map(func.sum, takes), *(func.max(case((same, what))).label(name) for name, what in _LAST.items())


# Made once: every submission executes them.
_OWNER, _PRIORITY = bindparam("of_owner", type_=String), bindparam("of_priority", type_=Integer)
_LAST = {"newest": Job.place, "latest": Job.delay}
_ALIKE = Job.priority >= _PRIORITY
_IN_LINE = select(*_facts(_ALIKE)).where(text(WAITING), Job.owner == _OWNER)
_MAY_COME_BACK = select(*_facts(and_(_ALIKE, Job.state != State.PAUSED))).where(
    Job.kind.in_(KINDS), Job.owner == _OWNER, Job.state.in_(COMES_BACK)
)
_HELD = beside(_IN_LINE, _MAY_COME_BACK, sight.SEEN)
_DAY = OwnerHours.hour // DAY
_USED = select(_DAY, func.sum(OwnerHours.cpu_seconds), func.sum(OwnerHours.accelerator_seconds)).group_by(_DAY)
_USED = _USED.where(OwnerHours.owner == _OWNER, OwnerHours.hour > bindparam("after", type_=Integer))
