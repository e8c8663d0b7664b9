"""The places that what answers questions to models holds on the cluster, beside those of runs: all SQL of them, and their words."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.db.session import Database, insert_into
from service.db.tables import ServedApplication
from service.runs.room import Need
from service.settings import Settings
from trainer.serve.wire import MODELS, PLANS

NAMES = (MODELS, PLANS)
OFF, STARTING, READY, LEAVING = "off", "starting", "ready", "leaving"
"""Phases, see `ServedApplication`."""
WORDS = {MODELS: "questions to models", PLANS: "plans"}
"""What each is for."""


class Place(NamedTuple):
    """One application, as its row was when it was read."""

    name: str
    asked_at: datetime | None = None
    phase: str = OFF
    granted_at: datetime | None = None
    cpus: float = 0.0
    gpus: float = 0.0
    replicas: int = 0
    running: int = 0
    coming: int = 0
    token: str = ""
    reason: str = ""
    failed: bool = False
    again_at: datetime | None = None
    stop: bool = False
    due_at: datetime | None = None
    revision: int = 0

    @property
    def held(self) -> bool:
        """Whether it has a place."""
        return self.phase != OFF

    @property
    def declared(self) -> bool:
        """Whether Serve is to run it."""
        return self.phase in (STARTING, READY)

    @property
    def need(self) -> Need:
        """The place that it holds."""
        return Need(self.replicas, self.cpus, self.gpus)


WANTED_SECONDS = 60.0
"""So long after a question what answers it is still waited for, unless it is idle sooner."""


def wanted(place: Place, now: datetime, idle_seconds: float) -> bool:
    """Whether someone waits for it, as far as the last question tells. Who still waits for an answer asks again and again.

    What gave its place back because it was idle isn't waited for: it would get it at once again.
    """
    return place.asked_at is not None and now - place.asked_at <= timedelta(seconds=min(WANTED_SECONDS, idle_seconds))


def seconds_of(name: str, settings: Settings) -> float:
    """Limit of one answer of an application."""
    return settings.plan_seconds if name == PLANS else settings.serve_seconds


FREED: dict[str, Any] = {
    **{"phase": OFF, "granted_at": None, "cpus": 0.0, "gpus": 0.0, "replicas": 0, "running": 0, "coming": 0},
    **{"token": "", "due_at": None},
}
"""What its row says when it has given its place back."""
_READ = select(*(getattr(ServedApplication, name) for name in Place._fields)).order_by(ServedApplication.name)


def places(session: Session) -> list[Place]:
    """All that were ever asked."""
    return [Place(*row) for row in session.execute(_READ)]


def needs(session: Session) -> tuple[Need, ...]:
    """What they hold, in an order of its own."""
    return tuple(sorted(place.need for place in places(session) if place.held))


def touch(session: Session, name: str, now: datetime) -> Place:
    """It is asked now; its row."""
    write = insert_into(session, ServedApplication).values(name=name, asked_at=now)
    session.execute(write.on_conflict_do_update(index_elements=[ServedApplication.name], set_={"asked_at": now}))
    return next(place for place in places(session) if place.name == name)


def change(session: Session, place: Place, *, unasked: bool = False, **values: Any) -> bool:
    """Write what a reconciler decided, if the row is as it was read. unasked: and if it wasn't asked since."""
    same = [ServedApplication.name == place.name, ServedApplication.revision == place.revision]
    if unasked:
        known = place.asked_at
        same.append(ServedApplication.asked_at.is_(None) if known is None else ServedApplication.asked_at == known)
    wanted = {**values, "revision": place.revision + 1}
    return bool(session.execute(update(ServedApplication).where(*same).values(**wanted)).rowcount)  # type: ignore[attr-defined]


def stop(db: Database) -> None:
    """Have all of them end now; the next question starts anew."""
    with db.begin() as session:
        now = {"stop": True, "due_at": None}
        session.execute(update(ServedApplication).values(**now, revision=ServedApplication.revision + 1))
