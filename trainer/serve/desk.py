"""A question's way through a replica: is there room, which model, how long it may take. Knows no Ray.

One thread runs nets, so that a device has one thing to do at a time; a few others read and write images.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import torch
from starlette.requests import Request
from starlette.responses import Response

from trainer.serve import door, neighbours
from trainer.serve.answers import Answers, Tools
from trainer.serve.door import Answer
from trainer.serve.joining import Joiner
from trainer.serve.memory import Data
from trainer.serve.neighbours import Searched
from trainer.serve.questions import QUESTIONS
from trainer.serve.refusals import RefusedError, wrong
from trainer.serve.shelf import Shelf
from trainer.serve.wire import MODEL_HEADER, VERSION_HEADER, ModelId, Reason, ServeArguments
from trainer.serve.work import Model, use_threads

FULL_SECONDS = 5.0
"""After which asking again makes sense where a device has no memory left."""
_log = logging.getLogger(__name__)


class Desk:
    """One per replica.

    load: gets a model and keeps it, for as long as it likes. room: told when more than models is kept.
    """

    def __init__(
        self,
        args: ServeArguments,
        load: Callable[[str], Awaitable[Model]],
        room: Callable[[], Awaitable[None]],
    ) -> None:
        self._args, self._room = args, room
        self.device = ThreadPoolExecutor(1, "device", use_threads, (args.cpus,))
        self.data = Data()
        self._models = Shelf(load)
        threads = ThreadPoolExecutor(max(2, int(args.cpus)), "pictures")
        self._tools = Tools(Joiner(self.device), threads, Shelf(self._searched))
        self._open = 0
        self._broken: str | None = None

    async def __call__(self, request: Request) -> Response:
        """Answer a question."""
        return await door.through(request, self._args.token_digest, partial(self._answer, request))

    def check(self) -> None:
        """Raise RuntimeError if this process can compute no more."""
        if self._broken is not None:
            raise RuntimeError(self._broken)

    async def _answer(self, request: Request) -> Answer:
        name = request.url.path.rstrip("/").rpartition("/")[2]
        kind = QUESTIONS.get(name)
        if kind is None:
            raise RefusedError(Reason.MISSING, f"{name[:100]!r} is no question; there are {', '.join(QUESTIONS)}")
        with self._place():
            async with self._limit():
                asked = await door.question(request, kind)
            id = _model_id(request)
            model = await self._models.get(str(id))
            async with self._limit():
                found = await self._computed(Answers(model, self._tools), name, asked)
        return Answer(found.body, found.media_type, {**found.headers, VERSION_HEADER: id.release})

    async def _computed(self, answers: Answers, name: str, asked: Any) -> Answer:
        try:
            found: Answer = await getattr(answers, name)(asked)
            return found
        except torch.OutOfMemoryError as error:
            _log.exception("no memory")
            message = "the device's memory is taken; ask again, or for fewer images"
            raise RefusedError(Reason.FULL, message, after=FULL_SECONDS) from error
        except torch.AcceleratorError as error:  # this process's context is lost with it
            self._broken = str(error)
            raise

    @contextmanager
    def _place(self) -> Iterator[None]:
        """One of the places for questions. Raises RefusedError if all are taken."""
        if self._open >= self._args.waiting:
            after = max(1.0, self._tools.joiner.seconds())
            raise RefusedError(Reason.FULL, f"{self._open} questions are being answered; ask again", after=after)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    @asynccontextmanager
    async def _limit(self) -> AsyncIterator[None]:
        seconds = self._args.seconds
        try:
            async with asyncio.timeout(seconds) as limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            message = f"no answer within {seconds:g} s; ask for fewer images"
            raise RefusedError(Reason.LATE, message, after=max(1.0, self._tools.joiner.seconds())) from error

    async def _searched(self, model: Model) -> Searched:
        """The training images that are looked at for this model."""
        found = self.data.find(model)
        if found is None:
            if model.spec is None:
                raise wrong("model", "its package doesn't say what it was trained on")
            spec, digest = model.spec, model.digest
            found = await self._tools.away(lambda: neighbours.open_images(spec, digest, self._args))
            self.data.keep(model, found)
            await self._room()
        return found


def _model_id(request: Request) -> ModelId:
    try:
        return ModelId.parse(request.headers.get(MODEL_HEADER, ""))
    except ValueError as error:
        raise wrong("model", str(error)) from None
