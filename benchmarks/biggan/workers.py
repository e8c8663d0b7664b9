"""The same global batch by one worker with two threads, and by two workers with one thread each, as DDP trains them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch

from trainer.spec import JobSpec

WARM = 2


def taking_turns(spec: JobSpec, groups: Sequence[tuple[int, int]], repeats: int) -> dict[tuple[int, int], list[float]]:
    """Seconds of each step by (workers, threads of each). Groups take turns; those that wait compute nothing."""
    found: dict[tuple[int, int], list[float]] = {group: [] for group in groups}
    with ExitStack() as stack:
        started = {group: stack.enter_context(workers(spec, *group)) for group in groups}
        for turn in range(WARM + repeats):
            for group, members in started.items():
                begun = time.perf_counter()
                for member in members:
                    member.send(True)
                for member in members:
                    member.recv()
                if turn >= WARM:
                    found[group].append(time.perf_counter() - begun)
    return found


@contextmanager
def workers(spec: JobSpec, world: int, threads: int) -> Iterator[list[Connection]]:
    """A process for each rank, at the other end of a pipe: it takes a step for each True."""
    fresh, port = get_context("spawn"), _free_port()
    members, processes = [], []
    for rank in range(world):
        ours, theirs = fresh.Pipe()
        process = fresh.Process(
            target=_rank, args=(theirs, spec.model_dump_json(), rank, world, threads, port), daemon=True
        )
        process.start()
        theirs.close()
        members.append(ours)
        processes.append(process)
    try:
        yield members
    finally:
        for member in members:
            member.send(False)
        for process in processes:
            process.join(60)


def _rank(pipe: Connection, spec_json: str, rank: int, world: int, threads: int, port: int) -> None:
    place = {"RANK": rank, "WORLD_SIZE": world, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": world, "MASTER_PORT": port}
    if world > 1:
        os.environ |= {name: str(value) for name, value in place.items()} | {"MASTER_ADDR": "127.0.0.1"}
    torch.set_num_threads(threads)
    from benchmarks.biggan.steps import engine_step
    from trainer.engine.distributed import Distributed

    spec = JobSpec.model_validate_json(spec_json)
    step = engine_step(spec, Distributed.create(spec, world=world))
    while pipe.recv():
        step()
        pipe.send(None)
    if world > 1:
        torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
