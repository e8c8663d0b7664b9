"""How well `agon plan` foresees memory and time on this machine's CPU.

    python -m benchmarks.plan [--quick]

The CPU is calibrated first, in the same run, and for each case its operations are timed on their own. Each case then trains for some
steps with the real engine in a process of its own: without a profiler for the time, and again under torch's, which sees every allocation
of tensors, for the memory. The resident memory that the process gained is shown beside it: it also holds what libraries take in passing,
which no plan claims to know.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace
from typing import Any

import psutil
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.common import Report, arguments
from trainer.engine.distributed import Distributed
from trainer.engine.metrics import Means, Stopwatch
from trainer.engine.state import TrainState
from trainer.engine.step import Stepper
from trainer.families.table import recipes
from trainer.plan.build import operations, plan
from trainer.plan.calibrate import calibrate, curve, known
from trainer.plan.devices import cpu
from trainer.plan.roofline import Calibration, Measured
from trainer.plan.words import large
from trainer.spec import JobSpec, with_overrides

CASES: tuple[tuple[str, ...], ...] = (
    ("gan", "train.batch=100"),
    ("gan", "arch.g_hidden=3000", "arch.d_hidden=400"),
    ("dcgan", "train.batch=64"),
    ("dcgan-64", "arch.g_width=32", "arch.d_width=32", "train.batch=32"),
    ("dcgan-64", "arch.g_width=12", "arch.d_width=12", "train.batch=128"),
    ("r3gan-digits", "arch.g_width=32", "arch.d_width=32"),
    ("biggan-digits",),
    ("biggan-cifar10", "arch.g_width=24", "arch.d_width=24", "train.batch=32"),
)
"""A recipe and what is changed of it. Recipes that are not there, or that know no such field, are left out."""
STEPS, WARM, ROUNDS = 15, 2, 3


def batches(spec: JobSpec) -> Iterator[SimpleNamespace]:
    """Noise, already decoded."""
    shape = (spec.train.batch, spec.arch.channels, spec.arch.resolution, spec.arch.resolution)
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    labels = torch.randint(0, max(1, spec.arch.classes), (spec.train.batch,))
    while True:
        yield SimpleNamespace(images=images.clone(), labels=labels, replaced=0)


def stepper(spec: JobSpec) -> Stepper:
    """The engine, ready to step."""
    distributed = Distributed.create(spec, world=1)
    state = TrainState.create(spec, distributed)
    return Stepper(state, distributed, batches(spec), Means(), Stopwatch())  # type: ignore[arg-type]


def calibrated(calibration: Calibration, spec: JobSpec) -> Calibration:
    """The calibration with the spec's operations timed."""
    return known(calibration, operations(spec, world=1))


def timed(spec: JobSpec, steps: int) -> dict[str, float]:
    """Seconds of a step (lower quartile: other programs only ever slow one down) and resident bytes gained."""
    before = psutil.Process().memory_info().rss
    engine, seconds = stepper(spec), []
    for _ in range(WARM + steps):
        begun = time.perf_counter()
        engine.step()
        seconds.append(time.perf_counter() - begun)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    return {"seconds": sorted(seconds[WARM:])[steps // 4], "resident": resident}


def peak(spec: JobSpec) -> int:
    """Bytes that torch's allocator had given out at the fullest moment of two steps, from before the nets were built."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        engine = stepper(spec)
        engine.step()
        engine.step()
    live = most = 0
    events = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        live += event.nbytes()
        most = max(most, live)
    return int(most)


def apart(function: Any, *given: Any) -> Any:
    """The function's result, from a new process: its memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *given).result()


def least(rounds: list[tuple[Calibration, dict[str, float]]]) -> tuple[Calibration, dict[str, float]]:
    """Of rounds some time apart the shortest time of each operation, and the shortest step: the machine's other guests, which
    come and go within minutes, only ever slow one down."""
    times = [each.operations for each, _ in rounds]
    shortest = {
        name: min(round[name] for round in times if name in round) for name in {key for each in times for key in each}
    }
    return rounds[0][0].replace(operations=shortest), min(
        (measured for _, measured in rounds), key=lambda found: found["seconds"]
    )


def specs(quick: bool) -> Iterator[tuple[str, JobSpec]]:
    """The cases that this build knows."""
    for recipe, *assignments in CASES[1:2] if quick else CASES:
        if recipe not in recipes():
            continue
        spec = recipes()[recipe]()
        known = {f"arch.{name}" for name in type(spec.arch).model_fields} | {"train.batch"}
        if all(assignment.partition("=")[0] in known for assignment in assignments):
            changed = [f"data.lanes={2 if spec.train.batch % 2 == 0 else 1}", "resources.workers=1"]
            yield " ".join((recipe, *assignments)), with_overrides(spec, [*assignments, *changed])


def main() -> int:
    """Calibrate, then foresee and measure each case."""
    options = arguments("plan", "Planned against measured memory and time of CPU steps.").parse_args()
    report = Report("plan", options)
    calibration = calibrate()
    for title, points in curve(calibration):
        report.note(f"{title}: " + ", ".join(f"{size:.0f}: {large(rate, 'FLOP/s')}" for size, rate in points))
    report.note("by_rates: the time planned from rates by size alone, as without `--calibrate` for the spec")
    report.note(f"threads: {torch.get_num_threads()}; ratios are planned / measured")
    worst_memory = worst_time = 1.0
    for name, spec in specs(options.quick):
        most, steps = apart(peak, spec), 2 if options.quick else STEPS
        ours, measured = least(
            [(apart(calibrated, calibration, spec), apart(timed, spec, steps)) for _ in range(1 if options.quick else ROUNDS)]
        )  # fmt: skip
        found = plan(spec, world=1, device=cpu(), rates=Measured(ours))
        alone = plan(spec, world=1, device=cpu(), rates=Measured(calibration))
        planned = found.memory.total - found.memory.parts["runtime"]
        memory, seconds = planned / most, found.time.step / measured["seconds"]
        report.row(
            case=name, gflop=found.flops_per_step / 1e9, planned_mib=planned / 2**20, peak_mib=most / 2**20,
            resident_mib=measured["resident"] / 2**20, memory_ratio=memory, planned_ms=found.time.step * 1e3,
            step_ms=measured["seconds"] * 1e3, time_ratio=seconds, by_rates=alone.time.step / measured["seconds"],
        )  # fmt: skip
        worst_memory = max(worst_memory, memory, 1 / memory)
        worst_time = max(worst_time, seconds, 1 / seconds)
    report.at_most("memory, worst ratio to the measured peak", 1.1, measured=worst_memory)
    report.at_most("time of a step after calibration, worst ratio", 1.3, measured=worst_time)
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
