"""The product's API or its reconciler, as a process that dies where it is told: `benchmarks.chaos.victim api PORT | reconciler`.

Nothing of the product is changed on disk. Before it starts, this process wraps the calls of its gateway to Ray, listens to SQLAlchemy's
sessions, and has the product's modules read a clock that somebody sets (`clock.py`). What Ray frees counts as free after a second, not
after fifteen, and who makes room is decided of twice a second, not every five: else nobody would among trainings of seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import uvicorn
from sqlalchemy import event
from sqlalchemy.orm import Session

from benchmarks.chaos.clock import MachineClock, install
from benchmarks.chaos.death import Doom
from benchmarks.chaos.points import CALLS, COMMIT
from service.app import create_app
from service.gateway.ray_jobs import HttpRayJobs
from service.reconciler import __main__ as apart
from service.reconciler import displacing


def arm(doom: Doom) -> None:
    """Put the points of death into this process."""

    def written(session: Session) -> bool:
        return not session.get_bind().get_execution_options().get("agon_read", False)

    @event.listens_for(Session, "before_commit")
    def before(session: Session) -> None:
        if written(session):
            doom.at(f"before {COMMIT}")

    @event.listens_for(Session, "after_commit")
    def after(session: Session) -> None:
        if written(session):
            doom.at(f"after {COMMIT}")

    for call in CALLS:
        setattr(HttpRayJobs, call, _deadly(getattr(HttpRayJobs, call), doom, f"Ray's {call}"))


def _deadly(method: Callable[..., Any], doom: Doom, name: str) -> Callable[..., Any]:
    @wraps(method)
    def called(*arguments: Any, **options: Any) -> Any:
        with doom.around(name):
            return method(*arguments, **options)

    return called


def main(arguments: list[str]) -> int:
    """Until it is killed."""
    role, *rest = arguments
    world = Path(os.environ["CHAOS_WORLD"])
    install(MachineClock(world / "clocks" / os.environ["CHAOS_MACHINE"]), ("service",))
    displacing.RAY_LAGS = timedelta(seconds=1)  # here Ray tells at once what is free
    displacing.AGAIN_SECONDS = 0.5
    arm(Doom(world, role, os.environ.get("CHAOS_DOOM", "")))
    if role == "api":
        uvicorn.run(create_app(), host="127.0.0.1", port=int(rest[0]), log_level="warning")
    else:
        apart.main()
    return 0
