"""Training on a real Ray cluster: what a killed worker costs, what is not tried again, what a waiting job says."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from embedded import Stack

from trainer.checkpoint import latest
from trainer.families.table import recipes
from trainer.sinks.spool import SpoolReader
from trainer.spec import with_overrides
from trainer.wire import EventKind, JobFile, WireEvent

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(300), pytest.mark.xdist_group("stack")]

TINY = [
    "arch.g_hidden=32", "arch.d_hidden=32", "train.batch=16", "train.images=1600", "train.log_steps=5",
    "checkpoint.every_steps=10", "samples.every_steps=1000", "samples.count=4", "evaluation.samples=32",
    "resources.workers=2", "resources.cpus_per_worker=1",
]  # fmt: skip


@dataclass
class Cluster:
    """One node with two CPUs."""

    stack: Stack
    cache: Path

    def workers(self) -> list[psutil.Process]:
        """The training workers' processes."""
        children = psutil.Process(self.stack.record.parts["ray"].pid).children(recursive=True)
        return [child for child in children if title(child).startswith("ray::RayTrainWorker")]

    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.stack.ray_driver(), "OMP_NUM_THREADS": "1"}


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture(scope="module")
def cluster(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return Cluster(stack, tmp_path_factory.mktemp("cache"))


def wait(condition: Callable[[], object], seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what} did not come in {seconds} s"
        time.sleep(0.1)


class Run:
    """A driver, started as Ray's job agent starts it."""

    def __init__(self, cluster: Cluster, folder: Path, *overrides: str) -> None:
        self.folder, self._reader = folder, SpoolReader(folder)
        self._read: list[WireEvent] = []
        folder.mkdir()
        spec = with_overrides(recipes()["gan-digits"](), [*TINY, *overrides])
        job = JobFile(job_id="j", attempt=1, spec=spec, job_dir=str(folder), cache_dir=str(cluster.cache))
        (folder / "job.json").write_text(job.model_dump_json())
        self.log = folder / "driver.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "trainer.launch.driver", str(folder / "job.json")],
                env=cluster.environment(),
                stdout=log,
                stderr=log,
            )

    def events(self, kind: EventKind | None = None) -> list[WireEvent]:
        self._read += self._reader.after(self._read[-1].seq if self._read else 0, 10_000)  # never the same ones again
        return [event for event in self._read if kind is None or event.kind is kind]

    def wait(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        """While the driver is there."""

        def holds() -> object:
            ended = self.process.poll() is not None
            found = condition()
            assert found or not ended, f"the driver ended before {what} came\n{self.log.read_text()[-4000:]}"
            return found

        wait(holds, seconds, what)

    def step(self) -> int:
        return max((event.step for event in self.events(EventKind.PROGRESS)), default=0)

    def end(self, seconds: float = 180) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(self.log.read_text()[-4000:])

    def weights(self) -> str:
        newest = latest(self.folder / "checkpoints")
        assert newest is not None
        return hashlib.sha256((newest / "state.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(cluster, tmp_path_factory.mktemp("runs") / "undisturbed")
    assert run.end() == 0, run.log.read_text()[-4000:]
    return run


def test_a_job_with_two_workers_finishes_and_reports_it(undisturbed: Run) -> None:
    assert undisturbed.events()[-1].data == {"outcome": "completed"}
    assert undisturbed.events()[-1].step == 100
    assert undisturbed.events(EventKind.STARTED)[0].data["workers"] == 2
    assert [event.seq for event in undisturbed.events()] == list(range(1, len(undisturbed.events()) + 1))
    assert not undisturbed.events(EventKind.WAITING)


def test_a_worker_computes_with_as_many_threads_as_it_has_cpus(undisturbed: Run) -> None:
    """Its process may have imported torch long before Ray gave it to the job."""
    assert json.loads((undisturbed.folder / "environment.json").read_text())["threads"] == 1


def test_a_worker_killed_in_the_middle_changes_nothing_in_the_end(
    cluster: Cluster, undisturbed: Run, tmp_path: Path
) -> None:
    run = Run(cluster, tmp_path / "killed")
    run.wait(lambda: run.step() >= 40, 120, "step 40")
    cluster.workers()[-1].send_signal(signal.SIGKILL)
    assert run.end() == 0, run.log.read_text()[-4000:]
    assert run.weights() == undisturbed.weights()
    assert len(run.events(EventKind.RESTARTED)) == 1
    assert "lost" in run.events(EventKind.RESTARTED)[0].data["reason"]
    assert run.events(EventKind.STARTED)[1].data["resumed_from"] >= 20
    steps = [(event.step, event.data["metrics"]) for event in run.events(EventKind.PROGRESS)]
    assert steps == [(event.step, event.data["metrics"]) for event in undisturbed.events(EventKind.PROGRESS)]


def test_an_elastic_job_takes_the_workers_that_fit_and_trains_the_same(
    cluster: Cluster, undisturbed: Run, tmp_path: Path
) -> None:
    run = Run(cluster, tmp_path / "elastic", "resources.workers=4", "resources.min_workers=1")
    assert run.end() == 0, run.log.read_text()[-4000:]
    assert run.events(EventKind.STARTED)[0].data["workers"] == 2  # the cluster has two CPUs
    assert run.weights() == undisturbed.weights()


def test_an_elastic_job_that_finds_too_few_places_says_what_its_smallest_group_needs(
    cluster: Cluster, tmp_path: Path
) -> None:
    run = Run(cluster, tmp_path / "elastic", "resources.workers=8", "resources.min_workers=4")
    run.wait(lambda: run.events(EventKind.WAITING), 120, "word of waiting")
    run.process.send_signal(signal.SIGTERM)
    assert run.end(60) == 0, run.log.read_text()[-4000:]
    assert [event.data["reason"] for event in run.events(EventKind.WAITING)] == [
        "needs 4 CPUs; the cluster has 2 in all"
    ]


def test_altered_data_fails_at_once_and_says_which_shard(cluster: Cluster, undisturbed: Run, tmp_path: Path) -> None:
    packed = next(cluster.cache.rglob("dataset.json")).parent
    data = tmp_path / "data"
    shutil.copytree(packed, data)
    shard = min(data.glob("*.tar"))
    with shard.open("r+b") as file:
        file.seek(5000)
        file.write(b"altered!")
    run = Run(cluster, tmp_path / "bad", f"data.url={data}")
    assert run.end() == 1
    failed = run.events()[-1]
    assert failed.kind is EventKind.FAILED
    assert failed.data["kind"] == "bad-data"
    assert shard.name in failed.data["reason"]
    assert not run.events(EventKind.RESTARTED)


def test_a_loss_that_is_not_finite_fails_at_once_and_names_it(
    cluster: Cluster, undisturbed: Run, tmp_path: Path
) -> None:
    run = Run(cluster, tmp_path / "nan", "objective.loss=least-squares", "optimizers.G.lr=10", "optimizers.D.lr=10",
              "optimizers.D.kind=sgd", "optimizers.G.kind=sgd")  # fmt: skip
    assert run.end() == 1
    failed = run.events()[-1]
    assert (failed.kind, failed.data["kind"]) == (EventKind.FAILED, "non-finite")
    assert "loss" in failed.data["reason"]
    assert not run.events(EventKind.RESTARTED)


def test_a_signal_to_the_driver_stops_all_workers_at_one_step_with_a_checkpoint(
    cluster: Cluster, undisturbed: Run, tmp_path: Path
) -> None:
    run = Run(cluster, tmp_path / "stopped", "train.images=1600000")
    run.wait(lambda: run.step() >= 10, 120, "step 10")
    run.process.send_signal(signal.SIGINT)
    assert run.end(60) == 0, run.log.read_text()[-4000:]
    assert run.events()[-1].data == {"outcome": "stopped"}
    newest = latest(run.folder / "checkpoints")
    assert newest is not None
    assert newest.name == f"step-{run.step():09d}"


HOLDER = """
import ray, sys
ray.init(address="auto", log_to_driver=False)
hold = ray.remote(num_cpus=1)(type("Hold", (), {"here": lambda self: True})).remote()
ray.get(hold.here.remote())
print("held", flush=True)
sys.stdin.read()
"""


def test_a_job_that_waits_says_for_what_and_starts_once_it_is_there(
    cluster: Cluster, undisturbed: Run, tmp_path: Path
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        env=cluster.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        run = Run(cluster, tmp_path / "waiting")
        cancelled = Run(cluster, tmp_path / "cancelled")
        for waiting in (run, cancelled):
            wait(lambda waiting=waiting: waiting.events(EventKind.WAITING), 120, "word of waiting")
            assert waiting.events(EventKind.WAITING)[0].data["reason"] == "needs 2 CPUs; 1 of 2 is free"
        assert not run.events(EventKind.STARTED)
        cancelled.process.send_signal(signal.SIGTERM)
        assert cancelled.end(60) == 0, cancelled.log.read_text()[-4000:]
        assert cancelled.events()[-1].data == {"outcome": "stopped"}
    finally:
        holder.communicate("")
    assert run.end() == 0, run.log.read_text()[-4000:]
    assert run.events()[-1].data == {"outcome": "completed"}
