"""Which version of a model is meant. An alias is looked up each time, so one that was moved is seen at once; a version is what it is."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from service.context import Context
from service.elsewhere import Errand
from service.gateway.registry import Version
from service.models.asking import ask
from trainer.serve.wire import ModelId

CHAMPION = "champion"
KEPT, KEPT_SECONDS = 1024, 300.0
"""Versions that are remembered, and how long: one may be deleted, and another be registered by its number in a new registry."""


class Asked(NamedTuple):
    """What a request names."""

    name: str
    version: str | None
    alias: str | None


class Versions:
    """One per application of ours. All methods belong to the event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], tuple[float, ModelId]] = OrderedDict()

    async def find(self, asked: Asked, ctx: Context, errand: Errand) -> ModelId:
        """Raises NotFound, Unavailable."""
        name = asked.name
        if asked.version is None:
            alias = asked.alias or CHAMPION
            return _id(name, await ask(ctx, errand, lambda registry: registry.aliased(name, alias)))
        key, version = (name, asked.version), asked.version
        until, known = self._known.get(key, (0.0, None))
        if known is None or self._clock() >= until:
            known = _id(name, await ask(ctx, errand, lambda registry: registry.version(name, version)))
            self._known[key] = self._clock() + KEPT_SECONDS, known
        self._known.move_to_end(key)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return known


def _id(name: str, found: Version) -> ModelId:
    mark = hashlib.sha256(f"{found.created} {found.source}".encode()).hexdigest()[:16]
    return ModelId(name, found.version, mark)
