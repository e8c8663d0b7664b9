"""Processes that tests train in: forked from one that has imported what training needs, so that each costs no import.

They are processes like any other: their own pid, signals, exit code, file descriptors and process group of workers.
"""

from __future__ import annotations

import os
import runpy
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import NoReturn

PRELOAD = [
    "trainer.launch.compose",
    "torch._dynamo",
    "torch.export",
    "sklearn.datasets",
    "mlflow.pyfunc",
    "trainer.report.build",
]
"""`torch._dynamo` is imported by the first optimiser step, the others by packing, publishing and reports. Only modules that are
importable without pytest's sys.path: the server that forks ignores what it can't import, and every process would then import
torch by itself."""


def context() -> ForkServerContext:
    """Processes of this context fork from one server per pytest process."""
    found = get_context("forkserver")
    found.set_forkserver_preload(PRELOAD)
    return found


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def join_group(rank: int, world: int, port: int) -> None:
    """In a worker: its place in the group, as torchrun would tell it, and one thread."""
    import torch

    place = {"RANK": rank, "WORLD_SIZE": world, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": world, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in place.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    torch.set_num_threads(1)


def leave_group() -> NoReturn:
    """A worker's last act: its process ends at once, and by itself closes what it has open.

    Nothing of the group is destroyed first: gloo's end waits for ever, once in some sixty times, if the other process goes at
    that moment.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    returncode: int
    stdout: str
    stderr: str


class Command:
    """`python -m module arguments`, forked: the same signals and exit codes as started anew."""

    def __init__(self, folder: Path, module: str, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._out, self._err = folder / "stdout", folder / "stderr"
        self.process = context().Process(
            target=_main, args=(module, arguments, dict(env or {}), str(self._out), str(self._err))
        )
        self.process.start()

    def send_signal(self, number: int) -> None:
        """As a terminal or `kill` does."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def wait(self, seconds: float = 200) -> Done:
        """Until it has ended. It is killed if it takes longer."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        assert self.process.exitcode is not None
        return Done(self.process.exitcode, self._out.read_text(), self._err.read_text())


def _main(module: str, arguments: tuple[str, ...], env: dict[str, str], out: str, err: str) -> None:
    for path, number in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    os.environ |= env
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
