"""Nodes that die, come, and are taken away, on a real Ray cluster of several: the training goes on, and as the same training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from test_ray_train import Run, title

from trainer.launch.leave import WORKER
from trainer.wire import EventKind

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(300), pytest.mark.xdist_group("nodes")]

HEAD = """
import json, sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = {}
for line in sys.stdin:
    command = json.loads(line)
    if command["do"] == "add":
        node = cluster.add_node(num_cpus=1)
        nodes[node.node_id] = node
        print(json.dumps({"node": node.node_id, "raylet": node.all_processes["raylet"][0].process.pid}), flush=True)
    elif command["do"] == "lose":
        cluster.remove_node(nodes.pop(command["node"]), allow_graceful=False)
        print("{}", flush=True)
    elif command["do"] == "address":
        print(json.dumps({"address": cluster.address}), flush=True)
cluster.shutdown()
"""
"""Runs the cluster; one command a line. In a process of its own, so that this one can have another cluster."""


@dataclass
class Nodes:
    """A head without CPUs, and nodes of one CPU each."""

    process: subprocess.Popen[str]
    cache: Path

    def ask(self, **command: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def workers(self, raylet: int) -> list[psutil.Process]:
        """The training workers of a node."""
        return [child for child in psutil.Process(raylet).children(recursive=True) if title(child).startswith(WORKER)]

    def environment(self) -> dict[str, str]:
        ours = {"RAY_ADDRESS": self.ask(do="address")["address"], "OMP_NUM_THREADS": "1", "AGON_RESIZE_SECONDS": "2"}
        return {**_clean(), **ours, "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.5"}


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def raylets(tmp_path: Path) -> Iterator[Nodes]:
    """A cluster until the test ends. Of each test its own: Ray goes on counting on nodes that died for some 20 s."""
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD], env=_clean(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Nodes(process, tmp_path / "cache")
    finally:
        process.communicate(timeout=60)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    yield from raylets(tmp_path)


SCORED = 1000
ELASTIC = [
    "train.images=2000000", "checkpoint.every_steps=50", "train.log_steps=20", "evaluation.samples=500",
    "evaluation.metrics=[fid]", f"evaluation.every_steps={SCORED}", "resources.workers=2", "resources.min_workers=1",
]  # fmt: skip
"""Longer than any of these tests: each ends its job when it has seen what it wants."""


def started(run: Run) -> list[tuple[int, int]]:
    """Workers of each group, and the step that it began at."""
    return [(event.data["workers"], event.data["resumed_from"] or 0) for event in run.events(EventKind.STARTED)]


def trains(run: Run, workers: int) -> bool:
    """Whether the newest group has so many workers, and has made progress."""
    groups = started(run)
    return bool(groups) and groups[-1][0] == workers and run.step() > groups[-1][1]


def stop(run: Run) -> None:
    run.process.send_signal(signal.SIGTERM)
    assert run.end(60) == 0, run.log.read_text()[-4000:]
    assert run.events()[-1].data == {"outcome": "stopped"}


def steps(run: Run) -> list[int]:
    return [event.step for event in run.events(EventKind.PROGRESS)]


def test_two_workers_then_one_then_two_end_with_the_score_of_an_undisturbed_run(nodes: Nodes, tmp_path: Path) -> None:
    nodes.ask(do="add")
    lost = nodes.ask(do="add")
    run = Run(nodes, tmp_path / "disturbed", *ELASTIC)
    run.wait(lambda: trains(run, 2) and run.step() >= 60, 120, "a group of two")
    before = len(started(run))
    nodes.ask(do="lose", node=lost["node"])
    run.wait(lambda: trains(run, 1), 120, "a group of one")
    nodes.ask(do="add")
    run.wait(lambda: trains(run, 2), 120, "a group of two again")
    run.wait(lambda: any(event.step > started(run)[-1][1] for event in run.events(EventKind.SCORES)), 200, "its score")
    stop(run)
    assert [workers for workers, _ in started(run)[before - 1 :]] == [2, 1, 2]
    restarts = [event.data["reason"] for event in run.events(EventKind.RESTARTED)]
    assert restarts[-1] == "a larger group fits"
    assert started(run)[-1][1] in steps(run)
    assert started(run)[-1][1] in {event.step for event in run.events(EventKind.CHECKPOINT)}
    assert started(run)[-1][1] > started(run)[-2][1]  # growing cost no step
    assert steps(run) == sorted({*range(20, run.step(), 20), *steps(run)})  # each step once in the books
    assert all(event.images == 16 * event.step for event in run.events(EventKind.PROGRESS))  # the global batch
    # undisturbed at step 4000: 78 to 136 with seeds 0 to 4
    assert run.events(EventKind.SCORES)[-1].data["scores"]["fid"] < 220


def test_a_worker_that_gets_sigterm_and_a_node_that_is_taken_away_cost_no_step_and_no_restart(
    nodes: Nodes, tmp_path: Path
) -> None:
    staying, leaving = nodes.ask(do="add"), nodes.ask(do="add")
    # what is kept is kept because of the notice
    never = ["checkpoint.every_steps=1000000", "evaluation.every_steps=1000000", "retry.worker_failures=0"]
    run = Run(nodes, tmp_path / "preempted", *ELASTIC, *never)
    run.wait(lambda: trains(run, 2) and run.step() >= 60, 120, "a group of two")
    before = len(started(run))
    nodes.workers(staying["raylet"])[0].send_signal(signal.SIGTERM)
    run.wait(lambda: len(started(run)) > before and trains(run, 2), 120, "a group of two after SIGTERM")
    with (tmp_path / "leave.log").open("wb") as log:
        leave = subprocess.Popen(
            [sys.executable, "-m", "trainer.launch.leave", "--node", leaving["node"], "--seconds", "30",
             "--address", nodes.environment()["RAY_ADDRESS"]],
            env=nodes.environment(), stdout=log, stderr=log,
        )  # fmt: skip
    run.wait(lambda: trains(run, 1), 120, "a group of one")
    stop(run)
    assert leave.wait(60) == 0
    after = started(run)[before:]
    saved = [event.step for event in run.events(EventKind.CHECKPOINT)]
    assert [workers for workers, _ in after] == [2, 1]
    assert [step for _, step in after] == saved[-3:-1]  # the last one is that of the stop
    assert set(saved) <= set(steps(run))  # a group stops after its last tick, and the next goes on from there
    assert [event.data["reason"][10:] for event in run.events(EventKind.RESTARTED)] == [
        "its process was asked to end (SIGTERM)", "its node is being taken away",
    ]  # fmt: skip
