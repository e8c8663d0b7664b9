"""Operations of a plan, run again on their own: real tensors of the same shapes, strides and types, timed on this machine.

A rate by size can't foresee which of its algorithms a library picks for a shape; the shape itself can. So a calibration for a
spec times each of the spec's distinct operations once, in seconds, without a step of the training.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map

from trainer.engine.memory import keep_freed_memory

REPEATS, ENOUGH = 9, 0.3
"""Runs, and seconds after which no more are made."""
COLD = 1 / 3
"""Share of an operation's time as with empty caches; what fits the cases of `benchmarks.plan` best."""
CACHES = 2**25
"""Bytes that are taken to empty a processor's caches; servers with more of them are a little faster than planned."""
LARGEST = 2**31
"""Bytes of tensors with which an operation is still tried."""


@dataclass(frozen=True)
class Like:
    """A tensor's form."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @property
    def elements(self) -> int:
        """Of the memory that it spans."""
        return (
            1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True)) if self.shape else 1
        )

    def make(self) -> Tensor:
        """Such a tensor: noise, or zeros where numbers would be indices."""
        if 0 in self.shape:
            return torch.empty(self.shape, dtype=self.dtype)
        base = torch.zeros(self.elements, dtype=self.dtype)
        if self.dtype.is_floating_point:
            base.uniform_(0.5, 1.0)  # nothing that is slow by its value: no denormals, no NaN out of a root
        return base.as_strided(self.shape, self.stride)


@dataclass(frozen=True)
class Call:
    """An operator and its arguments, in which forms stand for tensors."""

    func: Any
    arguments: Any

    @classmethod
    def of(cls, func: Any, args: Any, kwargs: Any) -> Call:
        """What is called."""
        return cls(func, tree_map(_form, (args, kwargs)))

    @property
    def bytes(self) -> int:
        """Of its tensors."""
        forms = [leaf for leaf in tree_leaves(self.arguments) if isinstance(leaf, Like)]
        return sum(form.elements * form.dtype.itemsize for form in forms)

    def ready(self) -> Callable[[], Any]:
        """The call, with tensors of its own."""
        args, kwargs = tree_map(lambda leaf: leaf.make() if isinstance(leaf, Like) else leaf, self.arguments)
        return partial(self.func, *args, **kwargs)


@dataclass(frozen=True)
class Operations:
    """A training step's distinct operations."""

    calls: Mapping[str, Call]
    """By signature."""
    touched: int
    """Bytes of the step's tensors at its fullest moment."""


def signature(call: Call) -> str:
    """The same for calls that do the same work, in any process: the operator's name and a digest of the arguments' forms."""
    leaves, structure = tree_flatten(call.arguments)
    text = ";".join([str(structure), *map(str, leaves)])
    return f"{call.func}/{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def timed(
    calls: Mapping[str, Call], touched: int = 0, done: Callable[[int], object] = lambda count: None
) -> dict[str, float]:
    """Seconds of each call by its signature; without those that can't be run on their own.

    touched: bytes that the training touches between two uses of a tensor: some operands were made just before and lie in the
    caches, others have left them (`COLD`). done: told how many calls are over. The process keeps freed memory from now on, as a
    worker does.
    """
    keep_freed_memory()
    found = {}
    others = torch.empty(min(touched, CACHES) // 4)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for count, (name, call) in enumerate(calls.items(), start=1):
            if call.bytes <= LARGEST:
                with suppress(RuntimeError, TypeError, ValueError, IndexError):
                    run = call.ready()
                    warm = typical(run)
                    cold = typical(run, lambda: others.fill_(1.0)) if touched else warm
                    found[name] = (1 - COLD) * warm + COLD * cold
            done(count)
    return found


def typical(run: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    """Seconds of a run: the lower quartile of some, as other programs only ever slow one down. before: called before each."""
    begun = time.perf_counter()
    run()
    found: list[float] = []
    while len(found) < REPEATS and (not found or time.perf_counter() - begun < ENOUGH):
        before()
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return sorted(found)[len(found) // 4]


def _form(leaf: Any) -> Any:
    return Like(tuple(leaf.shape), leaf.stride(), leaf.dtype) if isinstance(leaf, Tensor) else leaf
