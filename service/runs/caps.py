"""What owners may have on the cluster at once. Pure, but for reading it.

An owner has as many places in the line as their caps leave room for on the cluster; the others of their runs stand beside it and hear
why. So nobody keeps room for more than they may have, and of what one owner may not have the next one has the use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Row, bindparam, func, or_, select, text
from sqlalchemy.orm import Session

from service.bodies.owners import EVERYONE, Caps, Use
from service.bodies.states import State
from service.db.tables import WAITING, Job, OwnerCaps
from service.runs import hours
from service.runs.hours import Spent
from service.runs.room import Need

NO_CAPS = Caps()
NOBODY: Mapping[str, Spent] = {}
ON_CLUSTER = tuple(state for state in State if state.on_ray)


class Owned(Protocol):
    """One that waits."""

    @property
    def owner(self) -> str:
        """Whose it is."""

    @property
    def need(self) -> Need:
        """What it takes."""


T = TypeVar("T", bound=Owned)


def split(
    caps: Mapping[str, Caps],
    active: Iterable[tuple[str, Need]],
    waiting: Iterable[T],
    spent: Mapping[str, Spent] | None = None,
) -> tuple[list[T], list[tuple[T, str]]]:
    """Those that stand in the line, and those that their owners' caps keep out of it, each with the reason.

    active: owner and need of each run that is on the cluster. waiting: those that wait, in order. spent: who has used their GPU-hours.
    """
    ledger, line, held = Ledger(caps, active, spent or {}), list[T](), list[tuple[T, str]]()
    for item in waiting:
        reason = ledger.refuses(item.owner, item.need)
        if reason is None:
            ledger.take(item.owner, item.need)
            line.append(item)
        else:
            held.append((item, reason))
    return line, held


class Ledger:
    """What owners have on the cluster or a place in the line for."""

    def __init__(
        self, caps: Mapping[str, Caps], active: Iterable[tuple[str, Need]], spent: Mapping[str, Spent] = NOBODY
    ) -> None:
        """active: owner and need of each run that is on the cluster. spent: who has used their GPU-hours of the week."""
        self._caps, self._spent = dict(caps), spent
        self._running: Counter[str] = Counter()
        self._workers: Counter[str] = Counter()
        self._gpus: dict[str, float] = {}
        self._behind: dict[str, str] = {}
        """Owners of whom one is held who could start later, and by what: a smaller one of theirs doesn't pass it for ever."""
        self._told: dict[tuple[str, Need], str] = {}
        """What these heard: nothing of theirs is taken any more, so another one that takes the same hears the same."""
        for owner, need in active:
            self.take(owner, need)

    def take(self, owner: str, need: Need) -> None:
        """It is on the cluster now, or in the line."""
        self._running[owner] += 1
        self._workers[owner] += need.workers
        self._gpus[owner] = self._gpus.get(owner, 0.0) + need.total_gpus

    def refuses(self, owner: str, need: Need) -> str | None:
        """Why the owner may not have it now, for a person; None: they may."""
        if (told := self._told.get((owner, need))) is not None:
            return told
        caps = self._caps.get(owner) or self._caps.get(EVERYONE)
        if caps is None:
            return None
        if need.total_gpus and (spent := self.spent(owner)) is not None:
            return f"waits for {need.words}: {spent.words(owner)}"
        reason = self._behind.get(owner)
        for what, most, has, wants in self._asked(owner, need, caps):
            if most is None or has + wants <= most or not wants:
                continue
            cap = f"{owner} may have {most} {what}{'' if most == 1 else 's'} at once"
            if wants > most:
                return f"waits for {need.words}: {cap}, and it takes {wants:g}"
            reason = reason or f"{cap}, and has {has:g} on the cluster or ahead in the queue"
        if reason is None:
            return None
        self._behind[owner] = reason
        return self._told.setdefault((owner, need), f"waits for {need.words}: {reason}")

    def spent(self, owner: str) -> Spent | None:
        """The owner's GPU-hours of the week, if all are used: none of their runs that take GPUs passes another."""
        caps = self._caps.get(owner) or self._caps.get(EVERYONE)
        none = Spent(0.0, 0.0, None) if caps is not None and caps.gpu_hours_week == 0 else None
        return self._spent.get(owner) or none

    def _asked(self, owner: str, need: Need, caps: Caps) -> Iterator[tuple[str, int | None, float, float]]:
        yield "run", caps.running, self._running[owner], 1
        yield "worker", caps.workers, self._workers[owner], need.workers
        yield "GPU", caps.gpus, self._gpus.get(owner, 0.0), need.total_gpus


def read(session: Session) -> dict[str, Caps]:
    """Those that are set, by owner; `*` has those of all others."""
    return {row.owner: _caps(row) for row in session.scalars(select(OwnerCaps))}


def of(asked: Connection | Session, owner: str, *, lock: bool = False) -> tuple[Caps, bool]:
    """Those that apply to an owner, and whether they are the owner's own. lock: no other submission looks meanwhile."""
    found = {row.owner: row for row in asked.execute(_LOCKED if lock else _APPLYING, {"of_owner": owner})}
    row = found.get(owner) or found.get(EVERYONE)
    return NO_CAPS if row is None else _caps(row), row is not None and row.owner == owner


_APPLYING = (  # made once: every submission executes it
    select(*OwnerCaps.__table__.columns)
    .where(or_(OwnerCaps.owner == bindparam("of_owner"), OwnerCaps.owner == EVERYONE))
    .order_by(OwnerCaps.owner)
)
_LOCKED = _APPLYING.with_for_update()


def waiting(asked: Connection | Session, owner: str) -> int:
    """How many of the owner's runs are in the queue."""
    return asked.scalar(select(func.count()).select_from(Job).where(text(WAITING), Job.owner == owner)) or 0


def uses(session: Session, now: datetime) -> dict[str, Use]:
    """What each owner has now, or used within the week, who has or used anything."""
    gpus = func.sum(Job.workers * Job.worker_gpus)
    on_cluster = select(Job.owner, func.count(), func.sum(Job.workers), gpus).where(
        text("watched"), Job.state.in_(ON_CLUSTER)
    )
    in_line = select(Job.owner, func.count()).where(text(WAITING)).group_by(Job.owner)
    queued = {owner: int(count) for owner, count in session.execute(in_line)}
    week = hours.gpu_hours(session, now)
    found = {
        owner: {"running": int(count), "workers": int(workers or 0), "gpus": float(total or 0.0)}
        for owner, count, workers, total in session.execute(on_cluster.group_by(Job.owner))
    }
    return {
        owner: Use(**found.get(owner, {}), gpu_hours_week=week.get(owner, 0.0), waiting=queued.get(owner, 0))
        for owner in {*found, *queued, *week}
    }


def _caps(row: OwnerCaps | Row[Any]) -> Caps:
    return Caps(**{name: getattr(row, name) for name in Caps.model_fields})
