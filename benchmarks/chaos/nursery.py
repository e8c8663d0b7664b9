"""Starts processes in milliseconds: `python -m benchmarks.chaos.nursery SOCKET FOLDER MODULE…` imports the modules once, and then forks.

An order is a line of JSON on the Unix socket: {module, arguments, environment, log, tag, group}. The answer is the pid. FOLDER/running/TAG
has it, FOLDER/ended/TAG the exit code once it is over (−9: killed). One thread, so that a fork copies no lock that somebody holds.

A node of the cluster is a nursery, too, that the first one forks with a process group of its own: what it forks dies with it by one signal.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.chaos.death import die_with_parent

LOOK_SECONDS = 0.02


class Nursery:
    """Forks by order."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.folder = folder
        for name in ("running", "ended"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(64)
        self.listener.settimeout(LOOK_SECONDS)
        self.tags: dict[int, str] = {}

    def serve(self) -> NoReturn:
        """For ever."""
        while True:
            self._reap()
            try:
                connection, _ = self.listener.accept()
            except TimeoutError:
                continue
            with connection:
                connection.settimeout(5)
                try:
                    with connection.makefile("rb") as file:
                        self._obey(connection, json.loads(file.readline()))
                except (OSError, ValueError):
                    continue  # whoever asked was killed

    def _obey(self, connection: socket.socket, order: dict[str, Any]) -> None:
        tag, pid = str(order["tag"]), 0
        if not (self.folder / "ended" / tag).exists():  # else whoever asked gave it up
            pid = os.fork()
            if pid == 0:
                self.listener.close()
                connection.close()
                _live(order)
            self.tags[pid] = tag
            put(self.folder / "running" / tag, str(pid))
        connection.sendall(f"{pid}\n".encode())

    def _reap(self) -> None:
        while self.tags:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            put(self.folder / "ended" / self.tags.pop(pid), str(os.waitstatus_to_exitcode(status)))


def _live(order: dict[str, Any]) -> NoReturn:
    """As that process, from here on."""
    code = 1
    die_with_parent()
    if order["group"]:
        os.setsid()
    try:
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(order["environment"])
        random.seed()
        code = int(importlib.import_module(order["module"]).main(order["arguments"]) or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def put(path: Path, text: str) -> None:
    """Replace a small file, all at once."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text)
    aside.replace(path)


def order(
    path: Path,
    module: str,
    arguments: list[str],
    *,
    environment: dict[str, str],
    log: Path,
    tag: str,
    group: bool = False,
) -> int:
    """Have the nursery at `path` start a process, in a group of its own if asked; its pid. Raises OSError, ValueError."""
    asked = {"module": module, "arguments": arguments, "environment": environment, "log": str(log), "tag": tag}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        connection.sendall(json.dumps(asked | {"group": group}).encode() + b"\n")
        with connection.makefile() as file:
            return int(file.readline())


def main(arguments: list[str]) -> None:
    """See the module."""
    path, folder, *modules = arguments
    die_with_parent()
    for module in modules:
        importlib.import_module(module)
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Nursery(Path(path), Path(folder)).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
