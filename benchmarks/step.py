"""Time per step of each family, and where it goes: data, forward and backward, optimiser, listeners, the host.

    python -m benchmarks.step [--quick]

The loop measures itself (`Tick.shares`), so the figures are those of a real run with its sinks and its Checkpointer.
Sample grids and checkpoints happen seldom; they are timed apart and spread over the steps between two of them at the
spec's default cadence. Evaluation is not part of it. Images are noise in shards: their content costs nothing.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.common import Report, arguments
from trainer import sinks
from trainer.checkpoint import Checkpointer
from trainer.data.pack import Options, pack
from trainer.data.stream import open_dataset
from trainer.engine.distributed import Distributed
from trainer.engine.events import Event, Listener, Run, SamplesDrawn, StepDone, Tick
from trainer.engine.loop import Loop
from trainer.engine.state import TrainState
from trainer.families.table import recipes
from trainer.launch.compose import closing
from trainer.sinks.samples import SampleGrids
from trainer.spec import Checkpointing, JobSpec, Samples, with_overrides
from trainer.wire import JobFile

TICKS, LOG_STEPS = 4, 5
"""The first tick warms up and is not counted."""
CASES: tuple[tuple[str, int | None], ...] = (
    ("gan-digits", None),
    ("gan", None),
    ("dcgan-digits", None),
    ("wgan-gp-digits", None),
    ("dcgan", None),
    ("dcgan-64", 16),
)
"""Recipe and the batch it is run with here; None: its own."""


class Timed:
    """A listener whose handling is timed, by kind of event."""

    def __init__(self, inner: Listener) -> None:
        self.inner = inner
        self.seconds: list[tuple[Event, float]] = []

    def handle(self, event: Event, run: Run) -> None:
        """Pass on and time."""
        begun = time.perf_counter()
        self.inner.handle(event, run)
        self.seconds.append((event, time.perf_counter() - begun))

    def close(self) -> None:
        """Pass on."""
        self.inner.close()


class Ticks:
    """Keeps the ticks, and what checkpoints were due."""

    def __init__(self) -> None:
        self.ticks: list[Tick] = []

    def handle(self, event: Event, run: Run) -> None:
        """Keep."""
        if isinstance(event, Tick):
            self.ticks.append(event)

    def close(self) -> None:
        """Nothing to release."""


def noise_set(folder: Path, resolution: int, channels: int, count: int) -> str:
    """A packed dataset of noise at this size, ten classes."""
    source, random = folder / "images", np.random.default_rng(0)
    for number in range(count):
        path = source / str(number % 10) / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (resolution, resolution) if channels == 1 else (resolution, resolution, channels)
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(path)
    pack(str(source), folder / "packed", Options(name="noise"))
    return str(folder / "packed")


def measured_spec(recipe: str, batch: int | None, url: str, seed: int, quick: bool) -> JobSpec:
    """The recipe on that data for `TICKS` ticks; two checkpoints and one grid fall into the run."""
    spec = recipes()[recipe]()
    log_steps = 2 if quick else LOG_STEPS
    images = (batch or spec.train.batch) * spec.objective.d_steps * log_steps * TICKS
    lanes = min(spec.data.lanes, batch or spec.data.lanes)
    return with_overrides(
        spec,
        [
            f"data.url={url}", f"data.lanes={lanes}", f"train.batch={batch or spec.train.batch}", "resources.workers=1",
            f"train.seed={seed}", f"train.images={images}", f"train.log_steps={log_steps}",
            f"checkpoint.every_steps={log_steps + 1}", f"samples.every_steps={log_steps * TICKS}",
        ],
    )  # fmt: skip


def measure(spec: JobSpec, folder: Path) -> dict[str, Any]:
    """One run of the spec; its figures."""
    job = JobFile(job_id="bench", attempt=1, spec=spec, job_dir=str(folder), cache_dir=str(folder / "cache"))
    distributed = Distributed.create(spec, world=1)
    dataset = open_dataset(spec, cache_dir=folder / "cache")
    state = TrainState.create(spec, distributed)
    with contextlib.redirect_stdout(io.StringIO()):
        reporting = [Timed(listener) for listener in sinks.for_job(job, distributed)]
        saving, ticks = Timed(Checkpointer(folder / "checkpoints", spec)), Ticks()
        listeners: list[Listener] = [*reporting, saving, ticks]
        with closing(listeners):
            Loop(spec, state, distributed, dataset, listeners).run()
    return figures(spec, state, ticks.ticks, reporting, saving)


def figures(
    spec: JobSpec, state: TrainState, ticks: list[Tick], reporting: list[Timed], saving: Timed
) -> dict[str, Any]:
    """Milliseconds a step and shares; a step's listeners are counted at the cadence of the default spec."""
    counted, per_tick = ticks[1:], spec.train.log_steps
    seconds = [
        (tick.images - before.images) / tick.images_per_second for before, tick in zip(ticks, counted, strict=False)
    ]
    spent = {
        part: sum(tick.shares.get(part, 0.0) * s for tick, s in zip(counted, seconds, strict=True))
        / (per_tick * len(counted))
        for part in ("data", "compute", "optimizer", "listeners")
    }
    host = sum(seconds) / (per_tick * len(counted)) - sum(spent.values())
    grids = [
        s for sink in reporting if isinstance(sink.inner, SampleGrids) for e, s in sink.seconds if _due_grid(spec, e)
    ]
    routine = [
        s for sink in reporting for e, s in sink.seconds if not _due_grid(spec, e) and not isinstance(e, SamplesDrawn)
    ]
    stalls = [s for e, s in saving.seconds if isinstance(e, StepDone) and e.step % spec.checkpoint.every_steps == 0]
    # The first snapshot also allocates its buffers; both are shown and held against the target.
    sinks_each = sum(routine) / state.clock.step + statistics.mean(grids) / Samples().every_steps
    sinks_each += statistics.mean(stalls) / Checkpointing().every_steps
    step = spent["data"] + spent["compute"] + spent["optimizer"] + host + sinks_each
    return {
        "batch": spec.train.batch,
        "step_ms": step * 1e3,
        "img_per_s": spec.train.batch * spec.objective.d_steps / step,
        "data": spent["data"] / step,
        "fwd_bwd": spent["compute"] / step,
        "optimizer": spent["optimizer"] / step,
        "sinks": sinks_each / step,
        "host": host / step,
        "stall_1st": stalls[0] / step,
        "stall": max(stalls[1:]) / step,
        "ckpt_mib": sum(t.numel() * t.element_size() for t in state.tensors().values()) / 2**20,
    }


def _due_grid(spec: JobSpec, event: Event) -> bool:
    return isinstance(event, StepDone) and (event.last or event.step % spec.samples.every_steps == 0)


def main() -> int:
    """Measure every case; targets are DCGAN-64's."""
    options = arguments("step", "Time per step of each family and its shares.").parse_args()
    report = Report("step", options)
    report.note(
        f"threads: {torch.get_num_threads()}; shares are of a step; checkpoint stalls are per checkpoint, in steps"
    )
    report.note("sinks hold console, event spool, sample grids and checkpoints at the default cadence of 500 steps")
    report.note(
        "fwd_bwd holds what a phase does on the host for its passes (drawing latents, seeding); host is the rest"
    )
    last: dict[str, Any] = {}
    for recipe, batch in CASES:
        with tempfile.TemporaryDirectory() as name:
            arch = recipes()[recipe]().arch
            url = noise_set(Path(name), arch.resolution, arch.channels, 200 if options.quick else 1000)
            spec = measured_spec(recipe, 4 if options.quick and batch else batch, url, options.seed, options.quick)
            last = measure(spec, Path(name) / "run")
            report.row(recipe=recipe, **last)
    overhead = last["data"] + last["sinks"] + last["host"]
    where = f"DCGAN-64, batch {last['batch']}"
    report.at_most(f"data + sinks + host overhead, {where}", 0.05, measured=overhead, unit="of a step")
    report.at_most(f"checkpoint stall, {where}", 0.10, measured=last["stall"], unit="of a step")
    report.at_most(f"first checkpoint stall, {where}", 0.10, measured=last["stall_1st"], unit="of a step")
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
