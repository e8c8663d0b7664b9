"""What endpoints share: settings, database, gateways, the reconciler's bell. Built once by `create_app`, it knows no resource."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from fastapi import Depends, Request

from service.db.session import Database
from service.elsewhere import Elsewhere
from service.gateway.ray_jobs import RayJobs
from service.gateway.ray_serve import RayServe
from service.gateway.registry import Registry
from service.settings import Settings

P = TypeVar("P")


@dataclass
class Context:
    """One per application."""

    settings: Settings
    db: Database
    ray: RayJobs
    registry: Registry | None
    """None: no MLflow is configured."""
    serve: RayServe
    tell: Callable[[int], None]
    """Is told of a run, by number, that changed just now: whoever follows it hears at once."""
    parts: tuple[object, ...] = ()
    """What a resource has one of in an application; see `of`."""
    elsewhere: Elsewhere = field(default_factory=Elsewhere)
    bell: threading.Event = field(default_factory=threading.Event)
    """Wakes the reconciler of this process."""

    def of(self, kind: type[P]) -> P:
        """The application's part of that class. Raises LookupError."""
        for part in self.parts:
            if isinstance(part, kind):
                return part
        raise LookupError(f"this application has no {kind.__name__}")

    def ring(self, number: int | None = None) -> None:
        """Something changed: wake the reconciler, and tell who follows the run of that number."""
        self.bell.set()
        if number is not None:
            self.tell(number)


def context(request: Request) -> Context:
    """The application's context."""
    found: Context = request.app.state.context
    return found


async def _context(request: Request) -> Context:
    return context(request)


Ctx = Annotated[Context, Depends(_context)]
