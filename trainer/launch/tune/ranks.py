"""Further workers of a trial: an actor each, in the trial's own placement group, so that they come and go with it.

Tune knows of one actor a trial; that is rank 0. The others are its children, and Ray ends them when it dies.
"""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from trainer import trace
from trainer.errors import WorkerFailedError, blame
from trainer.launch import log
from trainer.launch.backend import COLLECTIVE_TIMEOUT, listen, store
from trainer.launch.tune.training import Ended, Failed, Training
from trainer.proxies import go_direct
from trainer.spec import JobSpec
from trainer.wire import JobFile

JOIN = timedelta(minutes=3)
"""How long workers wait for one another at the start: one that never comes must not hold the others' resources for long."""


class Rank:
    """One further worker. Lives as long as the trial's actor."""

    def train(self, job: str, metric: str, world: int, rank: int, address: str, port: int) -> Failed | None:
        """Join the group and train until rank 0 is done; how it failed, if it did."""
        parsed = JobFile.model_validate_json(job)
        log.keep_rank(parsed.job_dir, parsed.attempt, rank, world)
        trace.enter(parsed.traceparent)
        go_direct(*parsed.own_urls)
        join(parsed.spec, rank, world, address, port)
        training = Training(parsed, world, metric)
        training.start()
        while not isinstance(report := training.next(), Ended | Failed):
            continue
        return report if isinstance(report, Failed) else None


class Ranks:
    """The further workers of one training; none if it has one worker."""

    def __init__(self, job: JobFile, metric: str) -> None:
        self._world = job.spec.resources.workers
        self._actors: list[Any] = []
        self._running: list[Any] = []
        if self._world == 1:
            return
        address = ray.util.get_node_ip_address()
        server = listen(address)  # before anyone hears of the port, so that nobody else can take it
        port = int(server.getsockname()[1])
        resources = job.spec.resources
        worker = ray.remote(num_cpus=resources.cpus_per_worker, num_gpus=resources.gpus_per_worker)(Rank)
        group = get_current_placement_group()
        for rank in range(1, self._world):
            where = _bundle(group, rank)
            actor = worker.options(scheduling_strategy=where).remote() if where else worker.remote()
            self._actors.append(actor)
            self._running.append(actor.train.remote(job.model_dump_json(), metric, self._world, rank, address, port))
        join(job.spec, 0, self._world, address, port, server)

    def lost(self) -> Failed | None:
        """Why a worker ended before rank 0, if one did."""
        if not self._running:
            return None
        ended, _ = ray.wait(self._running, num_returns=len(self._running), timeout=0)
        failures: dict[int, Exception] = {}
        for rank, reference in enumerate(self._running, start=1):
            if reference not in ended:
                continue
            try:
                failed: Failed | None = ray.get(reference)
            except Exception as error:  # its process died
                failures[rank] = error
            else:
                if failed is not None:
                    failures[rank] = WorkerFailedError(failed.kind, failed.reason, failed.echo)
        return Failed.of(blame(failures), 0) if failures else None

    def close(self, wait_seconds: float) -> None:
        """End them: by themselves if rank 0 has ended well, else by force."""
        if self._running:
            ray.wait(self._running, num_returns=len(self._running), timeout=wait_seconds)
        for actor in self._actors:
            ray.kill(actor)
        if self._actors:
            leave()
        self._actors, self._running = [], []


def join(spec: JobSpec, rank: int, world: int, address: str, port: int, server: socket.socket | None = None) -> None:
    """Join the trial's process group, described in the environment as torchrun would. server: rank 0's, which serves it."""
    import torch
    import torch.distributed as dist

    gpu = spec.resources.gpus_per_worker > 0
    os.environ.update(MASTER_ADDR=address, MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(world))
    os.environ.update(LOCAL_RANK="0", LOCAL_WORLD_SIZE="1")  # Ray shows each actor its own GPU alone
    if gpu:
        torch.cuda.set_device(0)
        os.environ["ACCELERATE_TORCH_DEVICE"] = "cuda:0"
    dist.init_process_group(
        "nccl" if gpu else "gloo",
        store=store(address, port, rank, world, patience=JOIN, server=server),
        rank=rank,
        world_size=world,
        timeout=COLLECTIVE_TIMEOUT,
    )


def leave() -> None:
    """Forget the process group, so that the next training of this process can be alone or in another one."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        os.environ.pop(name, None)


def _bundle(group: PlacementGroup | None, rank: int) -> PlacementGroupSchedulingStrategy | None:
    if group is None:
        return None  # not in a search: a test
    return PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
