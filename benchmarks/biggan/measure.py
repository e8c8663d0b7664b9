"""FLOPs, the machine's convolution peak, memory, and times of things that take turns."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from statistics import median

import torch
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode

SHAPES = ((32, 96, 32), (32, 96, 16), (16, 128, 32), (8, 256, 16), (8, 64, 64))
"""Batch, channels and pixels a side of the 3 × 3 convolutions that the peak is taken of."""


def flops(step: Callable[[], object]) -> int:
    """Of one step: convolutions, matrix products and attention, forward and backward; a multiply-add is two."""
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def convolution_peak(seconds: float, shapes: Sequence[tuple[int, int, int]] = SHAPES) -> float:
    """FLOP/s of the fastest 3 × 3 convolution, forward and backward, over several shapes and both memory formats.

    seconds: for each shape and format, about; the fastest single repeat counts.
    """
    best = 0.0
    for layout in (torch.contiguous_format, torch.channels_last):
        for batch, channels, size in shapes:
            x = torch.randn(batch, channels, size, size).to(memory_format=layout).requires_grad_(True)
            w = torch.randn(channels, channels, 3, 3).to(memory_format=layout).requires_grad_(True)
            count = 3 * 2 * 9 * batch * channels * channels * size * size
            slope = torch.randn(batch, channels, size, size).to(memory_format=layout)
            ends = time.perf_counter() + seconds
            while True:
                begun = time.perf_counter()
                conv2d(x, w, padding=1).backward(slope)
                done = time.perf_counter()
                best = max(best, count / (done - begun))
                if done > ends:
                    break
    return best


def ratio(slower: Sequence[float], faster: Sequence[float]) -> float:
    """The median over the turns of how many times faster the second was."""
    return median(a / b for a, b in zip(slower, faster, strict=True))


def peak_memory(make: Callable[..., Callable[[], object]], *arguments: object) -> float:
    """MiB that building a step and running it twice takes at most, beyond an empty process: in a process of its own."""
    fresh = get_context("forkserver")  # one process imports torch and has done nothing with it; the others fork from it
    fresh.set_forkserver_preload(["benchmarks.biggan.steps", "torch._dynamo"])
    receiver, sender = fresh.Pipe(duplex=False)
    process = fresh.Process(target=_peak, args=(sender, torch.get_num_threads(), make, *arguments))
    process.start()
    sender.close()
    try:
        found: float = receiver.recv()
    finally:
        process.join()
    return found


def _peak(sender: Connection, threads: int, make: Callable[..., Callable[[], object]], *arguments: object) -> None:
    torch.set_num_threads(threads)
    torch.randn(64, 64).mm(torch.randn(64, 64))  # the libraries' own buffers
    conv2d(torch.randn(1, 8, 8, 8), torch.randn(8, 8, 3, 3))
    before = _most()
    step = make(*arguments)
    step()
    step()
    sender.send(_most() - before)


def _most() -> float:
    """The process's greatest resident memory so far, in MiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 2**10
