"""A loaded model, and what rows of requests go through: its generator, at one truncation, or its encoder.

Same rows, same bytes, whatever came along: nets' sums may be rounded differently at different batch sizes, so a forward has as many
rows as the model's `chunks` allow, sizes at which this net on this device gives each row the same bits, which is tried when it is
loaded. Who asks for one image then waits for little more than that, and many at once are quicker together. Rows that are missing
are repeated ones.

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
"""Of a forward, about, by the kind of device, if it has one size only: so much keeps it busy, and is over soon."""
MOST_FLOPS = {"cpu": 6e9, "cuda": 200e9}
"""Of a forward that need not be as large: it is over soon enough for whoever comes next."""
VALUES = 1 << 14
"""Of images that are compared to know of a size that it gives the same bits, at least; all that differ by as much as a bit are seen,
while what is sent are bytes."""


Chunks = tuple[int, ...]
"""Numbers of rows at which each row gets the same bits, rising."""


@dataclass(frozen=True, eq=False)
class Model:
    """A version of a model, ready to be asked."""

    id: ModelId
    generator: Generator
    size: int
    """Bytes of weights."""
    chunks: Chunks
    """Images that a forward may have."""
    encoder_chunk: int
    """Images of a forward of the encoder, if it has one: its codes are told to the last bit, of which no trial could be sure."""
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
    """The model, with chunks by the FLOPs of its nets and by what these compute."""
    encoder = _power(generator, _cost(lambda: _encode(generator)), FLOPS) if generator.config["encoder"] else 1
    return Model(id, generator, size, chunks(generator, _decoding(generator)), encoder, spec, digest)


@dataclass(frozen=True)
class Decoding:
    """z [n, Z], and labels [n] of a class-conditional model → images uint8 [n, H, W, C]."""

    model: Model
    truncation: float | None = None

    @property
    def chunk(self) -> int:
        """As in Work."""
        return self.model.chunks[-1]

    def run(self, rows: Rows) -> NDArray[Any]:
        """As in Work."""
        z, *labels = _filled(rows, self.model.chunks)
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
        (images,) = _filled(rows, (self.chunk,))
        return self.model.generator.encode(images)[: len(rows[0])]


def _filled(rows: Rows, chunks: Chunks) -> Rows:
    """As many rows as the smallest chunk that holds them: the first one is repeated."""
    missing = next(chunk for chunk in chunks if chunk >= len(rows[0])) - len(rows[0])
    return tuple(np.concatenate([array, np.repeat(array[:1], missing, axis=0)]) for array in rows)


Forward = Callable[[int, int], NDArray[Any]]
"""What a net makes of so many rows from a number on, before anything is rounded; the row of a number is always the same."""


def chunks(generator: Generator, forward: Forward) -> Chunks:
    """The largest power of two whose rows cost no more than FLOPS, and those up to MOST_FLOPS at which rows have the same bits."""
    flops = _cost(lambda: forward(0, 1))
    chunk, most = _power(generator, flops, FLOPS), _power(generator, flops, MOST_FLOPS)
    sizes = [1 << power for power in range(most.bit_length())]
    if len(sizes) == 1:
        return (chunk,)
    tried = max(most, min(MOST, 1 << (VALUES // forward(0, 1).size).bit_length()))
    expected = [forward(first, chunk) for first in range(0, tried, chunk)]
    return tuple(size for size in sizes if size == chunk or _is_same(np.concatenate(expected), forward, size))


def _is_same(expected: NDArray[Any], forward: Forward, size: int) -> bool:
    """Whether these rows have these bits in forwards of that size, wherever in them they are."""
    firsts = range(0, len(expected), size)
    return all(np.array_equal(expected[first : first + size], forward(first, size)) for first in firsts)


def _cost(forward: Callable[[], object]) -> int:
    """FLOPs."""
    counter = FlopCounterMode(display=False)
    with counter:
        forward()
    return max(1, counter.get_total_flops())


def _power(generator: Generator, flops: int, budget: Mapping[str, float]) -> int:
    """The largest power of two whose rows cost no more than the budget. flops: of one."""
    room = min(budget.get(generator.device.type, budget["cuda"]) / flops, generator.batch, MOST)
    return 1 << max(0, int(room).bit_length() - 1)


def _decoding(generator: Generator) -> Forward:
    def forward(first: int, n: int) -> NDArray[Any]:
        labels = generator.labels(n, start=first)
        given = (generator.latents(n, start=first), *(() if labels is None else (labels,)))
        found: NDArray[Any] = generator.forward(*(torch.tensor(array) for array in given)).float().cpu().numpy()
        return found

    return forward


def _encode(generator: Generator) -> None:
    side, channels = generator.config["resolution"], generator.config["channels"]
    generator.encode(np.zeros((1, side, side, channels), np.uint8))


def use_threads(cpus: float) -> None:
    """Compute with as many threads as the replica has CPUs."""
    torch.set_num_threads(max(1, int(cpus)))
