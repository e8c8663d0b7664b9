"""What endpoints share: settings, database, gateways, the reconciler's bell. Built once by `create_app`."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from service.db.session import Database
from service.elsewhere import Elsewhere
from service.gateway.ray_jobs import RayJobs
from service.gateway.registry import Registry
from service.jobs.stream import Hub
from service.plans.planner import Planner
from service.settings import Settings


@dataclass
class Context:
    """One per application."""

    settings: Settings
    db: Database
    ray: RayJobs
    registry: Registry | None
    """None: no MLflow is configured."""
    hub: Hub
    plans: Planner
    elsewhere: Elsewhere = field(default_factory=Elsewhere)
    bell: threading.Event = field(default_factory=threading.Event)
    """Wakes the reconciler of this process."""

    def ring(self, job_number: int | None = None) -> None:
        """Something changed: wake the reconciler and the streams of that job."""
        self.bell.set()
        if job_number is not None:
            self.hub.poke(job_number)


def context(request: Request) -> Context:
    """The application's context."""
    found: Context = request.app.state.context
    return found


Ctx = Annotated[Context, Depends(context)]
