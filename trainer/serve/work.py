"""A loaded model, and what rows of requests go through: its generator, at one truncation, or its encoder.

Same rows, same bytes, whatever came along: nets' sums are rounded differently at different batch sizes, so every forward of
a model has one shape, of `chunk` rows; rows that are missing are repeated ones.

Shape legend: n rows, Z latent dimensions, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from trainer.publish.portable.generator import Generator
from trainer.serve.joining import Rows
from trainer.serve.wire import ModelId
from trainer.spec import JobSpec

MOST = 64
"""Rows of a forward, at most."""
FLOPS = {"cpu": 0.2e9, "cuda": 200e9}
"""Of a forward, about, by the kind of device: so much keeps it busy, and is over soon enough for whoever comes next."""


@dataclass(frozen=True, eq=False)
class Model:
    """A version of a model, ready to be asked."""

    id: ModelId
    generator: Generator
    size: int
    """Bytes of weights."""
    chunk: int
    """Images of a forward."""
    encoder_chunk: int
    """The same of the encoder, if it has one."""
    spec: JobSpec | None = None
    """That it was trained by; None for a package without one that can be read."""
    digest: str | None = None
    """Of the data that it was trained on, where the package says it."""

    @property
    def config(self) -> Mapping[str, Any]:
        """What the package says of itself."""
        return self.generator.config

    @property
    def pixels(self) -> int:
        """Pixel values of one image."""
        return int(self.config["resolution"]) ** 2 * int(self.config["channels"])


def measured(
    id: ModelId, generator: Generator, size: int, spec: JobSpec | None = None, digest: str | None = None
) -> Model:
    """The model, with chunks by the FLOPs of its nets."""
    chunk = _chunk(generator, lambda: _decode(generator))
    encoder = _chunk(generator, lambda: _encode(generator)) if generator.config["encoder"] else 1
    return Model(id, generator, size, chunk, encoder, spec, digest)


@dataclass(frozen=True)
class Decoding:
    """z [n, Z], and labels [n] of a class-conditional model → images uint8 [n, H, W, C]."""

    model: Model
    truncation: float | None = None

    @property
    def chunk(self) -> int:
        """As in Work."""
        return self.model.chunk

    def run(self, rows: Rows) -> NDArray[Any]:
        """As in Work."""
        z, *labels = _filled(rows, self.chunk)
        return self.model.generator.decode(z, labels[0] if labels else None, self.truncation)[: len(rows[0])]


@dataclass(frozen=True)
class Encoding:
    """Images uint8 [n, H, W, C] → z float32 [n, Z]."""

    model: Model

    @property
    def chunk(self) -> int:
        """As in Work."""
        return self.model.encoder_chunk

    def run(self, rows: Rows) -> NDArray[Any]:
        """As in Work."""
        (images,) = _filled(rows, self.chunk)
        return self.model.generator.encode(images)[: len(rows[0])]


def _filled(rows: Rows, chunk: int) -> Rows:
    """Exactly `chunk` rows: the first one is repeated."""
    missing = chunk - len(rows[0])
    return tuple(np.concatenate([array, np.repeat(array[:1], missing, axis=0)]) for array in rows)


def _chunk(generator: Generator, forward: Callable[[], object]) -> int:
    """The largest power of two whose rows cost no more than the budget. forward: one row."""
    counter = FlopCounterMode(display=False)
    with counter:
        forward()
    budget = FLOPS.get(generator.device.type, FLOPS["cuda"])
    room = min(budget / max(1, counter.get_total_flops()), generator.batch, MOST)
    return 1 << max(0, int(room).bit_length() - 1)


def _decode(generator: Generator) -> None:
    generator.sample(1)


def _encode(generator: Generator) -> None:
    side, channels = generator.config["resolution"], generator.config["channels"]
    generator.encode(np.zeros((1, side, side, channels), np.uint8))


def use_threads(cpus: float) -> None:
    """Compute with as many threads as the replica has CPUs."""
    torch.set_num_threads(max(1, int(cpus)))
