"""Which version of a model is meant. What MLflow said is gone by for a while, and asked for again beside the questions, so that none waits
for it as long as others came shortly before.

An alias moves, so it is gone by for ALIAS_SECONDS only, from before it was looked up. Who moves one through the API, whichever process
of it, is answered when that time is over (`service.models.routes`): whoever asks after that answer asks the version that it moved to. What
somebody moves in MLflow itself, as a job does that publishes, is seen after that time at the latest.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, NamedTuple

from service.context import Context
from service.elsewhere import Errand
from service.errors import NotFound, Unavailable
from service.gateway.registry import Registry, Version
from service.models.asking import ALIAS_SECONDS, ask
from trainer.serve.wire import ModelId

CHAMPION = "champion"
KEPT, KEPT_SECONDS = 1024, 300.0
"""What is remembered, and how long a version is: one may be deleted, and another be registered by its number in a new registry."""
PATIENCE_SECONDS, AWAY_SECONDS = 1.0, 5.0
"""How long an MLflow that is away is waited for to say again what a known version is, and how often it is asked."""


class Asked(NamedTuple):
    """What a request names."""

    name: str
    version: str | None
    alias: str | None

    def of(self, registry: Registry) -> Version:
        """What it means in the registry."""
        if self.version is not None:
            return registry.version(self.name, self.version)
        return registry.aliased(self.name, self.alias or CHAMPION)

    @property
    def seconds(self) -> float:
        """How long it means that."""
        return ALIAS_SECONDS if self.version is None else KEPT_SECONDS


@dataclass
class _Known:
    id: ModelId
    at: float
    """When it was asked for."""
    tried: float
    """When it was last asked for, whatever came of it."""


class Versions:
    """One per application of ours. All methods belong to the event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[Asked, _Known] = OrderedDict()
        self._looking: set[asyncio.Task[ModelId]] = set()

    async def find(self, asked: Asked, ctx: Context, errand: Errand) -> ModelId:
        """Raises NotFound, Unavailable."""
        known, now = self._known.get(asked), self._clock()
        if known is None:
            return await self._look(asked, ctx, errand)
        if now >= known.at + asked.seconds:
            return await self._anew(asked, known, ctx, errand)
        if now >= known.tried + asked.seconds / 2:
            known.tried = now
            self._beside(self._look(asked, ctx, Errand(errand.caller)))
        self._known.move_to_end(asked)
        return known.id

    async def _anew(self, asked: Asked, known: _Known, ctx: Context, errand: Errand) -> ModelId:
        """It was known too long ago. A version is gone by while MLflow is away: as it says nothing, nothing of it can have changed there."""
        if asked.version is None:
            return await self._look(asked, ctx, errand)
        if self._clock() >= known.tried + AWAY_SECONDS:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    return await self._look(asked, ctx, errand)
            except (TimeoutError, Unavailable):
                known.tried = self._clock()
        return known.id

    async def _look(self, asked: Asked, ctx: Context, errand: Errand) -> ModelId:
        """What MLflow says."""
        at = self._clock()
        try:
            found = _id(asked.name, await ask(ctx, errand, asked.of))
        except NotFound:
            self._known.pop(asked, None)
            raise
        known = self._known.get(asked)
        if known is None or known.at <= at:
            self._known[asked] = _Known(found, at, at)
        self._known.move_to_end(asked)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return found

    def _beside(self, look: Coroutine[Any, Any, ModelId]) -> None:
        """What comes of it is there for the next question."""
        task = asyncio.create_task(look)
        self._looking.add(task)
        task.add_done_callback(self._looked)

    def _looked(self, task: asyncio.Task[ModelId]) -> None:
        self._looking.discard(task)
        if not task.cancelled():
            task.exception()  # the next question that needs it hears why


def _id(name: str, found: Version) -> ModelId:
    mark = hashlib.sha256(f"{found.created} {found.source}".encode()).hexdigest()[:16]
    return ModelId(name, found.version, mark)
