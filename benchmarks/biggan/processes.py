"""Steps in processes of their own that take turns: each with the threads, the allocator and the other workers that it has
in use, and the machine's moods meet all alike."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch

Name = TypeVar("Name")
WARM = 2
"""Turns before those that count: optimisers get their state, and the allocator its memory."""


@dataclass(frozen=True)
class Member:
    """One process: `make(*arguments)` there gives the step that it repeats. `make` is found by its name."""

    make: Callable[..., Callable[[], object]]
    arguments: tuple[Any, ...]
    threads: int
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Times:
    """Seconds of each turn, and of those that the operating system computed in it, over all threads of all members."""

    seconds: list[float] = field(default_factory=list)
    system: list[float] = field(default_factory=list)


def taking_turns(ways: Mapping[Name, Sequence[Member]], repeats: int) -> dict[Name, Times]:
    """The times of each way, whose members step together. Those that wait compute nothing. Raises RuntimeError if one fails."""
    found = {name: Times() for name in ways}
    with ExitStack() as stack:
        started = {name: stack.enter_context(running(members)) for name, members in ways.items()}
        for turn in range(WARM + repeats):
            for name, pipes in started.items():
                begun = time.perf_counter()
                try:
                    for pipe in pipes:
                        pipe.send(True)
                    system = sum(pipe.recv() for pipe in pipes)
                except (EOFError, OSError) as error:
                    raise RuntimeError(f"a process of {name!r} failed in turn {turn + 1}; it says why above") from error
                if turn >= WARM:
                    found[name].seconds.append(time.perf_counter() - begun)
                    found[name].system.append(system)
    return found


@contextmanager
def running(members: Sequence[Member]) -> Iterator[list[Connection]]:
    """The members' processes, each at the other end of a pipe: it takes a step for each True, and says what the operating
    system computed in it, in seconds."""
    fresh = get_context("spawn")
    pipes, processes = [], []
    for member in members:
        ours, theirs = fresh.Pipe()
        process = fresh.Process(target=_serve, args=(theirs, member), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        yield pipes
    finally:
        for pipe in pipes:
            with suppress(OSError):  # it may have failed
                pipe.send(False)
        for process in processes:
            process.join(60)
            process.terminate()  # it waits for a member that failed


def group(
    make: Callable[..., Callable[[], object]], arguments: tuple[Any, ...], world: int, threads: int
) -> list[Member]:
    """One member for each rank, which find each other."""
    place = {
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "MASTER_PORT": str(_free_port()),
        "MASTER_ADDR": "127.0.0.1",
    }
    return [
        Member(
            make,
            (*arguments, world),
            threads,
            place | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if world > 1 else {},
        )
        for rank in range(world)
    ]


def _serve(pipe: Connection, member: Member) -> None:
    os.environ.update(member.environment, OMP_NUM_THREADS=str(member.threads))  # which the engine goes by
    torch.set_num_threads(member.threads)
    step = member.make(*member.arguments)
    while pipe.recv():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_stime
        step()
        pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_stime - before)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
