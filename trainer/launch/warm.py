"""Warm processes for the next job: `python -m trainer.launch.warm COUNT ADDRESS`, once after `ray start`.

Nearly all of a job's start on Ray is processes that start and import. Ray gives an idle worker process to a request if
its runtime environment is the same and it belongs to no other job. So an actor on this node asks the raylet for such
processes, in the environment that all processes of a training have, whenever fewer than `COUNT` are idle and nothing
trains; `preload` then imports what training needs.

Nothing depends on it: without warm processes (another Ray version, a cluster that was started otherwise) Ray starts
the processes when a job needs them. `ray start` needs RAY_preload_python_modules=trainer.launch.preload.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

import psutil

from trainer.launch.preload import MARK, NO_JOB

LOOK_SECONDS = 2.0
KEEP_SECONDS = 24 * 3600
SETTINGS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",  # how late a death or the end is noticed
    # A placement group that waits for resources is asked for once, not again every minute; `WAITING` says why.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "604800",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "1",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "2",  # how late a notice is noticed; some clouds give half a minute
    "RAY_WARN_BLOCKING_GET_INSIDE_ASYNC": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # it prints everything twice: once more for Ray's own files
}
"""What Ray Train hands on to its processes; the environment wins."""


def environment() -> dict[str, str]:
    """The environment variables of all processes of a training, the same for every job of this cluster."""
    return {MARK: "1", **{name: os.environ.get(name, value) for name, value in SETTINGS.items()}}


def start(count: int) -> None:
    """Ask this node's raylet for `count` more idle processes. Needs a connection; returns at once.

    Raises whatever the running Ray version raises if it doesn't know the call.
    """
    import ray
    from ray.runtime_env import RuntimeEnv

    from trainer.launch.ray_internals import (
        common_pb2,
        get_runtime_env_info,
        init_grpc_channel,
        node_manager_pb2,
        node_manager_pb2_grpc,
    )

    described = {"env_vars": environment()}
    info = get_runtime_env_info(RuntimeEnv(**described), is_job_runtime_env=False, serialize=False)
    # Ray compares environments as text, and writes those of actors, which inherit their job's, without spaces.
    info.serialized_runtime_env = json.dumps(described, sort_keys=True, separators=(",", ":"))

    here = ray.get_runtime_context().get_node_id()
    node = next(node for node in ray.nodes() if node["NodeID"] == here)
    request = node_manager_pb2.PrestartWorkersRequest(
        language=common_pb2.Language.Value("PYTHON"), keep_alive_duration_secs=KEEP_SECONDS, num_workers=count
    )
    request.runtime_env_info.CopyFrom(info)
    with init_grpc_channel(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}") as channel:
        node_manager_pb2_grpc.NodeManagerServiceStub(channel).PrestartWorkers(request, timeout=5)


def idle() -> int:
    """Warm processes of this node's raylet that wait for work, or are still importing."""
    raylet = psutil.Process(os.getppid())
    return sum(is_warm(child) for child in raylet.children())


def is_warm(process: psutil.Process) -> bool:
    """Whether it is a worker process that belongs to no job yet, in a training's environment."""
    try:
        title = " ".join(process.cmdline())
        environ = process.environ()
    except psutil.Error:
        return False
    waits = title.startswith("ray::IDLE") or "default_worker.py" in title
    return waits and MARK in environ and environ.get("RAY_JOB_ID") == NO_JOB


class Keeper:
    """The actor that keeps `count` processes warm. One at a time, so that it takes one core, and none that train."""

    def __init__(self, count: int) -> None:
        self._count = count
        threading.Thread(target=self._keep, name="keeper", daemon=True).start()

    def _keep(self) -> None:
        import ray

        while True:
            time.sleep(LOOK_SECONDS)
            free, total = ray.available_resources(), ray.cluster_resources()
            if free.get("CPU") == total.get("CPU") and idle() < self._count:
                start(1)


def main(count: int, address: str) -> None:
    """Start the keeper on this node, and the actor through which Ray Train asks for resources: the first job of a
    cluster would otherwise wait for it."""
    import ray

    from trainer.launch.ray_internals import get_or_create_autoscaling_coordinator

    ray.init(address=address, runtime_env={"env_vars": environment()}, log_to_driver=False, logging_level="ERROR")
    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    options = {"name": "keeper", "namespace": "agon", "lifetime": "detached", "get_if_exists": True}
    ray.remote(num_cpus=0, label_selector=here)(Keeper).options(**options).remote(count)
    get_or_create_autoscaling_coordinator()


if __name__ == "__main__":
    from trainer.launch import warm

    if int(sys.argv[1]) > 0:
        warm.main(int(sys.argv[1]), sys.argv[2])  # by its name, so that Ray finds the actor's class on the other side
