"""How long a job takes from its submission to its first training step, against `agon train` from its process's start.

Both run the same spec on the same machine, in turns, on an embedded stack of its own. The service's way leads through
REST, the reconciler, Ray Jobs, Ray Train and two workers; the direct way is one process.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.common import Report, arguments
from service.client import Client
from service.local import down, up
from service.stack.layout import Layout
from service.stack.parts import WARM, WARM_ENV, Config
from service.stack.ports import Ports, free_ports
from trainer.families.table import recipes
from trainer.launch.warm import is_warm
from trainer.sinks.spool import EVENTS_FILE, SpoolReader
from trainer.spec import JobSpec, dump_spec, with_overrides
from trainer.wire import EventKind

TARGET = 2.0
PATIENCE_SECONDS = 300.0


def main() -> int:
    parser = arguments("latency", __doc__ or "")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of starts (default: 5; 1 with --quick)")
    parser.add_argument("--cold", action="store_true", help="keep no warm processes")
    options = parser.parse_args()
    report = Report("latency", options)
    spec = with_overrides(
        recipes()["gan-digits"](),
        ["train.log_steps=1", "resources.workers=2", "evaluation.samples=64", f"train.seed={options.seed}"],
    )
    ratios = []
    warm = 0 if options.cold else WARM
    with stack(warm) as (client, home, ray):
        direct(spec, home)  # packs the data and fills the page cache
        for repeat in range(1 if options.quick else options.repeats):
            settle(ray, warm)
            alone = direct(spec, home)
            settle(ray, warm)
            submitted = through_service(spec, client, home)
            ratios.append(submitted / alone)
            report.row(repeat=repeat, direct_seconds=alone, service_seconds=submitted, ratio=ratios[-1])
    report.note(f"{warm} warm processes")
    report.at_most("submit → first step ÷ direct start (median)", TARGET, measured=statistics.median(ratios))
    return report.finish()


@contextmanager
def stack(warm: int) -> Iterator[tuple[Client, Path, psutil.Process]]:
    """An embedded stack in a folder of its own, on free ports."""
    os.environ[WARM_ENV] = str(warm)
    with tempfile.TemporaryDirectory(prefix="agon-latency-") as folder:
        layout = Layout(Path(folder))
        api, mlflow, dashboard, gcs, serve = free_ports(5)
        started = up(Config(layout, Ports(api=api, mlflow=mlflow, dashboard=dashboard, gcs=gcs, serve=serve)))
        try:
            with Client(started.record.parts["api"].url, layout.token.read_text().strip()) as client:
                yield client, layout.home, psutil.Process(started.record.parts["ray"].pid)
        finally:
            down(layout)


def settle(ray: psutil.Process, warm: int) -> None:
    """Until the last run's processes are gone and as many are warm as a user finds who waits a while."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        processes = [process for process in ray.children(recursive=True) if process.is_running()]
        busy = any("RayTrainWorker" in title(process) or "JobSupervisor" in title(process) for process in processes)
        if not busy and sum(is_warm(process) for process in processes) >= warm:
            break
        time.sleep(1)
    time.sleep(3)  # the last of them may still import


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def direct(spec: JobSpec, home: Path) -> float:
    """Seconds from the start of `agon train`'s process to its first step."""
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "job.yaml", Path(folder) / "run"
        file.write_text(dump_spec(spec))
        command = [
            sys.executable,
            "-m",
            "trainer.launch.local",
            str(file),
            "--out",
            str(out),
            "--cache-dir",
            str(home / "cache"),
        ]
        began = time.time()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            return first_step(out) - began
        finally:
            process.kill()
            process.wait()


def through_service(spec: JobSpec, client: Client, home: Path) -> float:
    """Seconds from the request that submits the job to its first step."""
    began = time.time()
    job = client.submit(spec)
    try:
        return first_step(home / "jobs" / job.id) - began
    finally:
        client.cancel(job.id)
        client.wait(job.id)


def first_step(folder: Path) -> float:
    """When the first step of the run in `folder` was done, in seconds since the epoch. Raises TimeoutError."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if (folder / EVENTS_FILE).exists():
            for event in SpoolReader(folder).after(0, 50):
                if event.kind is EventKind.PROGRESS:
                    return event.time.timestamp()
                if event.kind is EventKind.FAILED:
                    raise RuntimeError(f"the run failed: {event.data}")
        time.sleep(0.05)
    raise TimeoutError(f"no step in {PATIENCE_SECONDS:.0f} s")


if __name__ == "__main__":
    raise SystemExit(main())
