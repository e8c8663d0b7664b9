"""A replica of either application: the thin part that knows Ray. torch comes in where one starts; Ray's controller imports this file, too."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from trainer.serve.wire import ModelId, ServeArguments

if TYPE_CHECKING:
    from trainer.serve.memory import Kept
    from trainer.serve.work import Model

KEPT = "__serve_multiplex_wrapper"
"""Where `serve.multiplexed` puts its record of a replica's models: private, and proven to be there by a test."""


class Models:
    """Answers questions to models. `serve.multiplexed` says which replica has which; which ones go is decided here, by memory."""

    def __init__(self, args: ServeArguments) -> None:
        from trainer.serve.desk import Desk

        _log_where_serve_does()
        self._args = args
        self._desk = Desk(args, self._model, self._trim)

    async def __call__(self, request: Request) -> Response:
        """One question."""
        return await self._desk(request)

    def check_health(self) -> None:
        """Ray Serve starts another replica if this raises."""
        self._desk.check()

    @serve.multiplexed(max_num_models_per_replica=-1)  # type: ignore[untyped-decorator]
    async def _model(self, name: str) -> Model:
        from trainer.serve.loading import load

        loop = asyncio.get_running_loop()

        def room(need: int) -> None:
            asyncio.run_coroutine_threadsafe(self._trim(need, spared=0), loop).result()

        return await asyncio.to_thread(partial(load, ModelId.parse(name), self._args, self._desk.device, room))

    async def _trim(self, need: int = 0, spared: int = 1) -> None:
        from trainer.serve.memory import make_room

        kept: Kept | None = getattr(self, KEPT, None)
        if kept is not None:
            await make_room(kept, self._desk.data, need, self._args.memory, spared)


def _log_where_serve_does() -> None:
    """What goes wrong in here stands beside Serve's own lines on the question."""
    ours, theirs = logging.getLogger("trainer"), logging.getLogger("ray.serve")
    ours.handlers = list(theirs.handlers)
    ours.propagate = False
