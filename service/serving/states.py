"""What a row says, as the API says it."""

from __future__ import annotations

from datetime import datetime, timedelta

from service.bodies.serving import Served, ServedState
from service.runs.served import LEAVING, READY, STARTING, Place

LATELY = timedelta(seconds=60)
"""So long after a question that could not be answered it counts as waited for."""


def shown(place: Place, now: datetime) -> Served:
    """One application."""
    state = _state(place, now)
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


def _state(place: Place, now: datetime) -> ServedState:
    if place.phase == READY:
        return (
            ServedState.READY if place.running else ServedState.STARTING if _lately(place, now) else ServedState.READY
        )
    if place.phase == STARTING:
        return ServedState.STARTING
    if place.failed:
        return ServedState.FAILED
    waits = place.phase != LEAVING and not place.stop and _lately(place, now)
    return ServedState.WAITING if waits else ServedState.OFF


def _lately(place: Place, now: datetime) -> bool:
    return place.asked_at is not None and now - place.asked_at <= LATELY
