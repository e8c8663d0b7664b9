"""Take a node out of its cluster before it is ended: `python -m trainer.launch.leave [--seconds 45] [--node ID]`.

For a pod's preStop hook, or a machine's shutdown unit. Ray then starts nothing new on the node; trainings with workers
here write a checkpoint and go on elsewhere (`trainer.launch.preempt`). Returns once no worker of a training is left here,
or when the time is up, which runs from the start of this process: Python and Ray take some of it (1 to 2 s of a core each,
20 s in all where others had two busy cores). The exit status is 0 unless Ray refused.
"""

from __future__ import annotations

import argparse
import sys
import time

import psutil

LOOK_SECONDS = 0.5
WORKER = "ray::RayTrainWorker"
"""How the title of a training worker's process begins."""


def main(arguments: list[str]) -> int:
    """Drain the node, wait for its workers."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer.launch.leave", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=45.0, help="how long the node will be there (default: 45)")
    parser.add_argument("--node", default=None, help="Ray's id of the node (default: the node of this machine)")
    parser.add_argument("--address", default="auto", help="host:port of the cluster (default: this machine's)")
    options = parser.parse_args(arguments)
    until = began() + options.seconds
    try:
        error = drain(options.address, options.node, until)
    except ConnectionError as missing:
        error = str(missing)
    if error:
        print(f"Ray doesn't drain the node: {error}", file=sys.stderr)  # noqa: T201
        return 1
    while time.time() < until and training_here():
        time.sleep(LOOK_SECONDS)
    return 0


def began() -> float:
    """When this process was started, in seconds since 1970."""
    return psutil.Process().create_time()


def drain(address: str, node: str | None, until: float) -> str | None:
    """Ask Ray to drain a node that will be there until then (seconds since 1970). Returns why it doesn't; None: it does.

    Raises ConnectionError if there is no cluster.
    """
    import ray

    from trainer.launch.ray_internals import GcsClient, autoscaler_pb2

    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    try:
        context = ray.get_runtime_context()
        accepted, why = GcsClient(address=context.gcs_address).drain_node(
            node or context.get_node_id(),
            autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"),
            "the machine is taken away",
            int(max(until, time.time() + LOOK_SECONDS) * 1000),  # Ray takes none that has passed
        )
    finally:
        ray.shutdown()
    return None if accepted else str(why)


def training_here() -> bool:
    """Whether a worker of a training runs on this machine."""
    for process in psutil.process_iter():
        try:
            if " ".join(process.cmdline()).startswith(WORKER):
                return True
        except psutil.Error:
            continue
    return False


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
