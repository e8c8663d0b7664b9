"""What a row says, as the API says it."""

from __future__ import annotations

from datetime import datetime

from service.bodies.serving import Served, ServedState
from service.runs.served import LEAVING, READY, STARTING, Place, wanted


def shown(place: Place, now: datetime, idle_seconds: float) -> Served:
    """One application."""
    state = _state(place, waited=wanted(place, now, idle_seconds))
    return Served(
        name=place.name,
        state=state,
        reason="" if state in (ServedState.OFF, ServedState.READY) else place.reason,
        replicas=place.running,
        most_replicas=max(1, place.replicas),
        cpus=place.need.total_cpus,
        gpus=place.need.total_gpus,
        asked_at=place.asked_at,
        granted_at=place.granted_at,
    )


def _state(place: Place, *, waited: bool) -> ServedState:
    if place.phase == READY:
        return ServedState.READY if place.running else ServedState.STARTING if waited else ServedState.READY
    if place.phase == STARTING:
        return ServedState.STARTING
    if place.failed:
        return ServedState.FAILED
    waits = place.phase != LEAVING and not place.stop and waited
    return ServedState.WAITING if waits else ServedState.OFF
