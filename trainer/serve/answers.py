"""One loaded model's answers: a question becomes rows for the nets, those become images, and those a file.

Nets run in the device's thread, by way of the joiner; what else takes long runs in threads of its own.

Shape legend: n images, H height, W width, C channels, Z latent dimensions.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from trainer.publish.sheets import paired
from trainer.serve import latents, neighbours, pictures, uploads
from trainer.serve.door import Answer
from trainer.serve.joining import Joiner
from trainer.serve.latents import Wanted
from trainer.serve.neighbours import Searched
from trainer.serve.questions import (
    MOST_ANSWERED,
    MOST_PIXELS,
    Encode,
    Form,
    Generate,
    Neighbours,
    Path,
    Reconstruct,
    Traverse,
)
from trainer.serve.refusals import RefusedError, fitting, wrong
from trainer.serve.shelf import Shelf
from trainer.serve.wire import SEARCHED_HEADER, Reason
from trainer.serve.work import Decoding, Encoding, Model

T = TypeVar("T")
UNDER_WAY = 8 * MOST_PIXELS
"""Pixel values that all answers of a replica may hold at a time."""
QUICK = 1 << 16
"""Pixel values of what takes no longer than the way to another thread: some milliseconds where the process is busy."""
JSON = "application/json"


@dataclass
class Tools:
    """What the answers of a replica share."""

    joiner: Joiner
    threads: Executor
    """For what is neither net nor waiting."""
    searched: Shelf[Model, Searched]
    """Training images by the model that was trained on them."""
    pixels: int = 0
    """Under way."""

    async def away(self, tell: Callable[[], T], pixels: int = 1 << 62) -> T:
        """What `tell` gives, told off the event loop unless it is about no more pixel values than are QUICK."""
        if pixels <= QUICK:
            return tell()
        return await asyncio.get_running_loop().run_in_executor(self.threads, tell)

    @contextmanager
    def holding(self, pixels: int) -> Iterator[None]:
        """Room for so many pixel values. Raises RefusedError if others have it."""
        if self.pixels and self.pixels + pixels > UNDER_WAY:
            after = max(1.0, self.joiner.seconds())
            raise RefusedError(Reason.FULL, "as many images as fit in memory are being made; ask again", after=after)
        self.pixels += pixels
        try:
            yield
        finally:
            self.pixels -= pixels


class Answers:
    """Of one model, to one question: the method is called as the question is."""

    def __init__(self, model: Model, tools: Tools) -> None:
        self._model, self._tools = model, tools

    async def generate(self, asked: Generate) -> Answer:
        """Samples."""
        few = asked.n or (MOST_ANSWERED if asked.codes or isinstance(asked.labels, tuple) else 1)
        wanted = await self._tools.away(lambda: latents.generated(self._model, asked), few * self._model.pixels)
        return await self._still(asked.form, wanted, asked.truncation)

    async def path(self, asked: Path) -> Answer:
        """Frames from stop to stop."""
        if asked.images:
            stops = await self._encoded(await self._uploaded(asked.images))
        else:
            stops = await self._tools.away(lambda: latents.stops(self._model, asked))
        moving = asked.form in pictures.MOVING
        wanted = latents.along(self._model, asked, stops, moving=moving)
        if not moving:
            return await self._still(asked.form, wanted, asked.truncation)
        with self._holding(len(wanted.z)):
            frames = await self._decoded(wanted, asked.truncation)
            return await self._file(asked.form, lambda: pictures.moving(asked.form, frames, asked.fps))

    async def traverse(self, asked: Traverse) -> Answer:
        """One code or direction along each row."""
        wanted = await self._tools.away(lambda: latents.traversed(self._model, asked))
        if asked.form not in pictures.MOVING:
            return await self._still(asked.form, wanted, asked.truncation)
        with self._holding(len(wanted.z)):
            images = await self._decoded(wanted, asked.truncation)
            return await self._file(
                asked.form,
                lambda: pictures.moving(asked.form, pictures.abreast(images, wanted.columns), asked.fps),
            )

    async def encode(self, asked: Encode) -> Answer:
        """z = E(x)."""
        z = await self._encoded(await self._uploaded(asked.images))
        if asked.form == "json":
            return Answer(await self._tools.away(lambda: json.dumps({"z": z.tolist()}).encode()), JSON)
        return Answer(pictures.npz({"z": z}), Form.NPZ.media_type)

    async def reconstruct(self, asked: Reconstruct) -> Answer:
        """G(E(x))."""
        label = latents.one_label(self._model, asked.label)
        if label is None and self._model.config["classes"]:
            raise wrong("label", "is missing: the model is class-conditional", "give the class to reconstruct with")
        images = await self._uploaded(asked.images)
        z = await self._encoded(images)
        labels = None if label is None else np.full(len(z), label, np.int64)
        if asked.form in (Form.PNGS, Form.NPZ):
            return await self._still(asked.form, Wanted(z, labels, len(z)), None)
        with self._holding(2 * len(z)):
            again = await self._decoded(Wanted(z, labels, len(z)), None)
            cells, columns = paired(images, again)
            return await self._file(asked.form, lambda: pictures.still(asked.form, cells, columns, {}))

    async def neighbours(self, asked: Neighbours) -> Answer:
        """The nearest training images."""
        if self._model.spec is None:
            raise wrong("model", "its package doesn't say what it was trained on")
        if asked.images:
            queries = await self._uploaded(asked.images, encoder=False)
        else:
            wanted = await self._tools.away(lambda: latents.sampled(self._model, asked))
            queries = await self._decoded(wanted, asked.truncation)
        among = await self._tools.searched.get(self._model)
        with self._holding(len(queries) * (asked.k + 1)):
            found = await self._tools.away(lambda: neighbours.nearest(queries, among, asked.k))
            looked = {SEARCHED_HEADER: f"{len(among.images)}/{among.total}"}
            if asked.form == "json":
                return Answer(json.dumps(neighbours.told(found, among)).encode(), JSON, looked)
            cells = np.concatenate([queries[:, None], among.images[found.places]], axis=1)
            flat, form = cells.reshape(-1, *queries.shape[1:]), Form(asked.form)
            answer = await self._file(form, lambda: pictures.still(form, flat, cells.shape[1], {}))
            return Answer(answer.body, answer.media_type, looked)

    async def _still(self, form: Form, wanted: Wanted, truncation: float | None) -> Answer:
        arrays: Mapping[str, NDArray[Any] | None] = {"z": wanted.z, "labels": wanted.labels}
        with self._holding(len(wanted.z)):
            images = await self._decoded(wanted, truncation)
            return await self._file(form, lambda: pictures.still(form, images, wanted.columns, arrays), images.size)

    async def _file(self, form: Form, make: Callable[[], bytes], pixels: int = 1 << 62) -> Answer:
        return Answer(await self._tools.away(make, pixels), form.media_type)

    async def _decoded(self, wanted: Wanted, truncation: float | None) -> NDArray[np.uint8]:
        config = self._model.config
        if truncation is not None:  # latents that were encoded instead of drawn were not checked against it
            fitting("truncation", lambda: latents.truncated(self._model, truncation))
        if config["classes"] and wanted.labels is None:
            raise wrong("label", "is missing: the model is class-conditional", "give a class")
        return await self._tools.joiner.compute(Decoding(self._model, truncation), wanted.rows)

    async def _uploaded(self, files: tuple[bytes, ...], *, encoder: bool = True) -> NDArray[np.uint8]:
        if encoder:
            latents.needs_encoder(self._model)
        latents.bound(self._model, len(files), "images")
        config = self._model.config
        return await self._tools.away(lambda: uploads.read(files, config["resolution"], config["channels"]))

    async def _encoded(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return await self._tools.joiner.compute(Encoding(self._model), (images,))

    @contextmanager
    def _holding(self, images: int) -> Iterator[None]:
        with self._tools.holding(images * self._model.pixels):
            yield
