"""Measures what this machine's CPU computes and moves, in some seconds; `agon plan --calibrate` keeps the result.

Training's operations are not bound by the data sheet: a convolution of four channels reaches a small part of the peak, a tensor
that was just allocated is slower to write than one in the cache. So rates are measured at several sizes and read off between them;
and for a given spec, each of its operations in its very form.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, relu

from trainer.engine.memory import keep_freed_memory
from trainer.plan.replay import Operations, timed, typical
from trainer.plan.roofline import Calibration, Points
from trainer.plan.tape import Tape

WIDTHS = (4, 16, 64, 256)
SIDES = (1, 16, 64, 256, 1024)
SIZES = (2**16, 2**20, 2**24, 2**27)
CONVOLUTION_FLOPS = 4e8
"""Of one convolution that is timed: milliseconds."""


def calibrate() -> Calibration:
    """Measure, each rate several times. The process keeps freed memory from now on, as a worker does."""
    keep_freed_memory()
    torch.manual_seed(0)
    forward, backward = [], []
    for width in WIDTHS:
        there, back = _convolution(width)
        forward.append((float(width), there))
        backward.append((float(width), back))
    return Calibration(
        key=key(),
        threads=torch.get_num_threads(),
        convolution={"forward": tuple(forward), "backward": tuple(backward)},
        matmul=tuple((float(side), _product(side)) for side in SIDES),
        memory=tuple((2.0 * size, _stream(size)) for size in SIZES),
        overhead=_overhead(),
    )


def known(
    calibration: Calibration, step: Operations, done: Callable[[int], object] = lambda count: None
) -> Calibration:
    """The calibration with a step's operations timed; those that it knows already are timed anew. done: see `timed`."""
    return calibration.replace(operations={**calibration.operations, **timed(step.calls, step.touched, done)})


def stored(folder: Path) -> Calibration | None:
    """The calibration of this machine with this number of threads, if there is one."""
    try:
        found = Calibration.model_validate_json(path(folder).read_bytes())
    except (OSError, ValueError):
        return None
    return found if found.key == key() else None


def store(calibration: Calibration, folder: Path) -> Path:
    """Keep it."""
    folder.mkdir(parents=True, exist_ok=True)
    target = path(folder)
    aside = target.with_suffix(f".{os.getpid()}")
    aside.write_text(calibration.model_dump_json(indent=1))
    aside.replace(target)
    return target


def path(folder: Path) -> Path:
    """Where it lies."""
    return folder / f"cpu-{key()}.json"


def key() -> str:
    """Of the processor, torch, the number of threads and the meaning of the rates (3): what they depend on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line for line in lines if line.startswith("model name")), "")
    except OSError:
        model = platform.processor()
    text = f"3/{model}/{platform.machine()}/{torch.__version__}/{torch.get_num_threads()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _convolution(width: int) -> tuple[float, float]:
    """FLOP/s of a 3 × 3 convolution, forward, and of both its gradients."""
    side = 32
    count = max(1, round(CONVOLUTION_FLOPS / (2 * 9 * width * width * side * side)))
    count = min(count, 2**24 // (width * side * side))  # 64 MiB of images at most
    flops = 2 * 9 * width * width * side * side * count
    x, weight = torch.randn(count, width, side, side), torch.randn(width, width, 3, 3)
    y = conv2d(x, weight, padding=1)
    there = typical(lambda: conv2d(x, weight, padding=1))
    back = typical(
        lambda: torch.ops.aten.convolution_backward(
            y, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False]
        )
    )
    return flops / there, 2 * flops / back


def _product(side: int) -> float:
    """FLOP/s of [n, k] × [k, m] whose smallest dimension is `side`."""
    n = max(side, 512)
    a, b = torch.randn(n, n), torch.randn(n, side)
    return 2 * n * n * side / typical(lambda: a @ b)


def _stream(size: int) -> float:
    """Bytes/s of an operation that reads `size` bytes and makes as many."""
    x: Tensor = torch.randn(size // 4)
    return 2 * size / typical(lambda: relu(x))


def _overhead() -> dict[str, float]:
    """Seconds that an operation of a net takes beside its own: modules, autograd, the interpreter."""
    layers = [(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.LeakyReLU()) for _ in range(20)]
    net, x = nn.Sequential(*(layer for each in layers for layer in each)), torch.randn(2, 1, 2, 2)

    def both() -> None:
        net.zero_grad(set_to_none=True)
        net(x).sum().backward()

    with Tape(keep_calls=True) as tape:
        with tape.section("forward"):
            total = net(x).sum()
        with tape.section("backward"):
            total.backward()
    own = timed(tape.calls)
    there, whole = (min(typical(run) for _ in range(5)) for run in (lambda: net(x).sum(), both))
    spent = {"forward": there, "backward": whole - there}
    found = {}
    for section, seconds in spent.items():
        costs = tape.costs[section]
        without = sum(own.get(cost.call, 0.0) * count for cost, count in costs.items())
        found[section] = max(0.0, seconds - without) / costs.total()
    return found


def curve(calibration: Calibration) -> list[tuple[str, Points]]:
    """What was measured, for a person."""
    return [
        ("convolution forward, by channels", calibration.convolution["forward"]),
        ("convolution backward, by channels", calibration.convolution["backward"]),
        ("matrix product, by its smallest side", calibration.matmul),
    ]
