"""Measures what this machine's CPU computes and moves, in some seconds; `agon plan --calibrate` keeps the result.

Training's operations are not bound by the data sheet: a convolution of four channels reaches a small part of the peak, a tensor
that was just allocated is slower to write than one in the cache. So rates are measured at several sizes and read off between them.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import conv2d, relu

from trainer.plan.roofline import Calibration, Points

WIDTHS = (4, 16, 64, 256)
SIDES = (1, 16, 64, 256, 1024)
SIZES = (2**16, 2**20, 2**24, 2**27)
REPEATS = 5
CONVOLUTION_FLOPS = 4e8
"""Of one convolution that is timed: milliseconds."""


def calibrate() -> Calibration:
    """Measure. Best of some repetitions, as other programs only ever slow one down."""
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
    """Of the processor, torch and the number of threads: what the rates depend on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line for line in lines if line.startswith("model name")), "")
    except OSError:
        model = platform.processor()
    text = f"{model}/{platform.machine()}/{torch.__version__}/{torch.get_num_threads()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def best(run: Callable[[], object]) -> float:
    """Least seconds of some runs, after one that warms up."""
    run()
    found = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        run()
        found.append(time.perf_counter() - begun)
    return min(found)


def _convolution(width: int) -> tuple[float, float]:
    """FLOP/s of a 3 × 3 convolution, forward, and of both its gradients."""
    side = 32
    count = max(1, round(CONVOLUTION_FLOPS / (2 * 9 * width * width * side * side)))
    count = min(count, 2**24 // (width * side * side))  # 64 MiB of images at most
    flops = 2 * 9 * width * width * side * side * count
    x, weight = torch.randn(count, width, side, side), torch.randn(width, width, 3, 3)
    y = conv2d(x, weight, padding=1)
    there = best(lambda: conv2d(x, weight, padding=1))
    back = best(
        lambda: torch.ops.aten.convolution_backward(
            y, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False]
        )
    )
    return flops / there, 2 * flops / back


def _product(side: int) -> float:
    """FLOP/s of [n, k] × [k, m] whose smallest dimension is `side`."""
    n = max(side, 512)
    a, b = torch.randn(n, n), torch.randn(n, side)
    return 2 * n * n * side / best(lambda: a @ b)


def _stream(size: int) -> float:
    """Bytes/s of an operation that reads `size` bytes and makes as many."""
    x: Tensor = torch.randn(size // 4)
    return 2 * size / best(lambda: relu(x))


def _overhead() -> dict[str, float]:
    """Seconds of an operation on one number: forward under autograd, and backward."""
    count, x = 200, torch.ones((), requires_grad=True)

    def chain() -> Tensor:
        y = x
        for _ in range(count):
            y = y * 1.0
        return y

    there = best(chain)
    back = best(lambda: chain().backward()) - there  # type: ignore[no-untyped-call]
    return {"forward": there / count, "backward": max(back, 0.0) / count}


def curve(calibration: Calibration) -> list[tuple[str, Points]]:
    """What was measured, for a person."""
    return [
        ("convolution forward, by channels", calibration.convolution["forward"]),
        ("convolution backward, by channels", calibration.convolution["backward"]),
        ("matrix product, by its smallest side", calibration.matmul),
    ]
