"""When what answers questions to models gets a place on the cluster, and when it gives it back: pure.

It gets what no run takes, nor those that wait and come first: never a training's place. It has it as long as questions come, and is
declared to Ray Serve as long as it has it. Nothing else may take the place before Serve has said that the replicas are gone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from service.gateway.ray_jobs import Node
from service.gateway.ray_serve import AppState, ServeState
from service.runs.queue import Line, why_never
from service.runs.room import Need, amount
from service.runs.served import FREED, LEAVING, READY, STARTING, Place, wanted
from service.settings import Settings
from trainer.serve.wire import MODELS

AGAIN = timedelta(seconds=30)
"""After Serve could not run it, it gets no place for so long."""
LINGERS = timedelta(seconds=60)
"""So long after it is idle, and its last answer must have been given, replicas that Serve has not ended are ended."""
SOON, LATER = timedelta(seconds=1), timedelta(seconds=5)
"""From one look at Serve to the next: while something is to change, and else."""


class Room(NamedTuple):
    """What a reconciler sees of the cluster."""

    nodes: Sequence[Node]
    active: Sequence[Need]
    """What runs take there."""
    served: Sequence[Need]
    """And what is kept already."""
    line: Sequence[Need]
    """What those take that wait, in order."""
    names: Sequence[str] = ()
    """Of the runs there."""


class Grant(NamedTuple):
    """A place for so many replicas; none, and why."""

    replicas: int
    reason: str = ""


def asks(place: Place, now: datetime, settings: Settings) -> bool:
    """Whether it is to have a place, and has none."""
    if place.held or place.stop or not wanted(place, now, settings.serve_idle_seconds):
        return False
    return place.again_at is None or now >= place.again_at


def one_of(name: str, settings: Settings) -> tuple[Need, int]:
    """What one replica takes, and how many there may be."""
    if name == MODELS:
        return Need(1, settings.serve_cpus, settings.serve_gpus), settings.serve_replicas
    return Need(1, settings.serve_cpus), 1


def grant(room: Room, one: Need, most: int) -> Grant:
    """As many replicas as fit beside all that run, and beside all that wait if these were placed now."""
    line = Line(room.nodes, room.active, served=room.served)
    if not room.nodes:
        return Grant(0, f"needs {one.words}; the cluster has no nodes")
    if (why := why_never(room.nodes, one)) is not None:
        return Grant(0, f"{why}; it takes what AGON_SERVE_CPUS and AGON_SERVE_GPUS say")
    for need in room.line:
        if line.nothing_for(one):
            break
        line.next(need)
    found = 0
    while found < most and line.left.holds(one):
        line.left.take(one)
        found += 1
    return Grant(found) if found else Grant(0, _no_room(room, one, line))


def _no_room(room: Room, one: Need, line: Line) -> str:
    need = f"needs {one.words}"
    if line.free.holds(one):
        return f"{need}, which runs that wait will take first; it gets a place when they have theirs"
    (cpus, gpus), few_cpus = line.free.sums(), one.cpus > line.free.sums()[0]
    what, free, total = ("GPUs", gpus, sum(node.gpus for node in room.nodes)) if one.gpus and not few_cpus else (
        "CPUs", cpus, sum(node.cpus for node in room.nodes)
    )  # fmt: skip
    others = f" and {len(room.names) - 1} more" if len(room.names) > 1 else ""
    taken = f"; {room.names[0]}{others} {'run' if others else 'runs'} there" if room.names else ""
    return f"{need}; {amount(free)} of {amount(total)} {what} free{taken}"


def idle(place: Place, now: datetime, settings: Settings) -> bool:
    """Whether it is to give its place back."""
    if not place.declared:
        return False
    if place.stop or not settings.serve or place.asked_at is None:
        return True
    quiet = now - place.asked_at - timedelta(seconds=settings.serve_idle_seconds)
    last = timedelta(seconds=settings.serve_seconds + settings.serve_start_seconds) + LINGERS
    return quiet > last or (quiet > timedelta() and not place.running and not place.coming)


def gone(places: Collection[Place], now: datetime, settings: Settings) -> bool:
    """Whether Serve itself is to end: someone wants it, or nobody has asked for long."""
    if any(place.stop for place in places):
        return True
    asked = [place.asked_at for place in places if place.asked_at is not None]
    if not asked or any(place.held for place in places):
        return False
    return not settings.serve or now - max(asked) > timedelta(seconds=settings.serve_gone_seconds)


def settled(place: Place, told: ServeState, wanted: Collection[str], now: datetime) -> dict[str, Any]:
    """What its row says from now on. told: what Serve said when those were declared and no others."""
    app = told.applications.get(place.name)
    if place.phase == LEAVING:
        return FREED if app is None and place.name not in wanted else {}
    if not place.declared or place.name not in wanted:
        return {}
    if app is None:
        return {"phase": STARTING, "running": 0, "coming": 0}
    if app.status == "DEPLOY_FAILED":
        return {"phase": LEAVING, "failed": True, "reason": failure(app), "again_at": now + AGAIN}
    ready = app.status == "RUNNING"
    said = "" if ready else app.message if app.status == "UNHEALTHY" else ""
    known = {"phase": READY if ready else STARTING, "running": app.running, "coming": app.coming}
    return {**known, "reason": said[-1000:], "failed": False}


def failure(app: AppState) -> str:
    """In words; of a traceback its last ones."""
    lines = [line.strip() for line in app.message.splitlines() if line.strip(" .^~-")]
    return f"Ray Serve can't run it: {lines[-1][:500] if lines else app.status}"


def changed(place: Place, values: Mapping[str, Any]) -> bool:
    """Whether that is anything new."""
    return any(getattr(place, name) != value for name, value in values.items())


def next_look(places: Collection[Place], now: datetime, settings: Settings) -> datetime | None:
    """When someone looks at Serve again; None: as soon as there is anything to look at."""
    if not any(place.held or place.stop for place in places):
        return None
    settling = any(place.phase in (STARTING, LEAVING) or place.stop or _wakes(place, now, settings) for place in places)
    return now + (SOON if settling else LATER)


def _wakes(place: Place, now: datetime, settings: Settings) -> bool:
    """Whether someone waits for a replica of one that has none."""
    return place.declared and not place.running and wanted(place, now, settings.serve_idle_seconds)
