"""One world: control plane, Ray, nodes, database and proxies in a folder of its own, and a keeper that brings back whoever is dead."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from benchmarks.chaos import databases, head, nursery, points
from benchmarks.chaos.clock import MachineClock
from benchmarks.chaos.death import CALM, is_calm, note
from benchmarks.chaos.proxy import Proxy
from service.access.tokens import read_or_create
from service.client import Client
from service.settings import Settings

KEEP_SECONDS = 0.05
DOOMED = 0.8
"""Share of the processes of the control plane, and of Ray's heads, that are told a point to die at; the others die at random."""
RECONCILER_SECONDS = 2.0
"""After which one that runs apart, and answers nobody, is taken to be at work."""
LEASE_SECONDS, POLL_SECONDS, GRACE_SECONDS = 3, 0.2, 5
CONTROL = "control"
"""The nursery of all."""
FOLDERS = ("logs", "clocks", "alive", "ray", "home/data", CONTROL)
MODULES = ("benchmarks.chaos.victim", head.DRIVER, "benchmarks.chaos.head")
START_SECONDS = 600.0


class Stage:
    """A context manager. replicas: API processes, each with a reconciler; beside two of them a third reconciler runs apart."""

    def __init__(self, database: str, replicas: int, seed: int) -> None:
        self.world = Path(tempfile.mkdtemp(prefix="chaos-"))
        for name in FOLDERS:
            (self.world / name).mkdir(parents=True)
        self.random = random.Random(f"stage {seed}")
        self.store = databases.store(database, self.world / "home")
        self.home = self.world / "home"
        self.ports = {f"api-{number}": _free_port() for number in range(replicas)}
        self.machines = (*self.ports, *(["reconciler"] if replicas > 1 else []))
        self.clocks = {name: MachineClock(self.world / "clocks" / name) for name in (*self.machines, *head.NODES)}
        self.head_port = _free_port()
        self.to_ray, self.to_api = Proxy([self.head_port], seed), Proxy([*self.ports.values()], seed + 1)
        self.token = read_or_create(Settings(home=self.home).token_file)
        self.lock = threading.RLock()
        """Held while something is brought back or taken away."""
        self.kept = False
        """Whether its folder stays when it is over."""
        self._lives: dict[str, str] = {}
        self._began: dict[str, float] = {}
        self._count = 0
        self._mother: subprocess.Popen[bytes] | None = None
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    # -- its life

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def _start(self) -> None:
        (self.world / "ray" / "memory").write_text("0")
        command = [
            sys.executable,
            "-m",
            "benchmarks.chaos.nursery",
            str(self._socket(CONTROL)),
            str(self.world / CONTROL),
            *MODULES,
        ]
        with (self.world / "logs" / f"{CONTROL}.log").open("ab") as log:
            self._mother = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + START_SECONDS
        while not self._socket(CONTROL).exists():
            if self._mother.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the nursery did not start: {self.log(CONTROL)}")
            time.sleep(0.02)
        self.look()
        self._keeper.start()
        with self.client(patience=START_SECONDS) as client:
            client.healthy()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        if error is None and not self.kept:
            shutil.rmtree(self.world, ignore_errors=True)

    def _stop(self) -> None:
        self._closing.set()
        if self._keeper.ident is not None:
            self._keeper.join()
        if self._mother is not None:
            self._mother.kill()  # with it all that it forked, and what those did
            self._mother.wait()
        for proxy in (self.to_ray, self.to_api):
            proxy.close()
        self.store.close()

    def client(self, *, patience: float = 20.0) -> Client:
        """An administrator's, through the proxy."""
        return Client(self.to_api.url, self.token, timeout=10.0, patience=patience)

    def calm(self) -> None:
        """Nobody dies any more, and no connection comes to harm; clocks stay as they are."""
        (self.world / CALM).touch()
        self.to_api.rough = self.to_ray.rough = 0.0

    # -- who lives

    def _keep(self) -> None:
        while not self._closing.wait(KEEP_SECONDS):
            with self.lock, suppress(OSError, ValueError):  # what didn't start now starts at the next look
                self.look()

    def look(self) -> None:
        """Bring back whoever is dead."""
        for node in filter(self._dead, head.NODES):
            place, alive = self.world / "ray" / node, self.world / "ray" / f"{node}.alive"
            alive.unlink(missing_ok=True)
            self._fork(node, "benchmarks.chaos.nursery", [str(self._socket(node)), str(place)], {}, group=True)
            nursery.put(alive, self._lives[node])
        if self._dead("head"):
            told = self._doom(points.HEAD)
            self._fork("head", "benchmarks.chaos.head", [str(self.world), str(self.head_port), told], {})
        for name in filter(self._dead, self.machines):
            role = ["api", str(self.ports[name])] if name in self.ports else ["reconciler"]
            doom = self._doom(points.CONTROL)
            told = {"CHAOS_WORLD": str(self.world), "CHAOS_MACHINE": name, "CHAOS_DOOM": doom}
            self._fork(name, "benchmarks.chaos.victim", role, self._settings() | told)

    def _dead(self, name: str) -> bool:
        life = self._lives.get(name)
        return life is None or (self.world / CONTROL / "ended" / life).exists()

    def _fork(
        self, name: str, module: str, arguments: list[str], environment: dict[str, str], *, group: bool = False
    ) -> None:
        """Its next life."""
        self._count += 1
        life, log = f"{name}.{self._count}", self.world / "logs" / f"{name}.log"
        place = self._socket(CONTROL)
        nursery.order(place, module, arguments, environment=environment, log=log, tag=life, group=group)
        self._lives[name], self._began[name] = life, time.monotonic()

    def _settings(self) -> dict[str, str]:
        return {
            "AGON_HOME": str(self.home),
            "AGON_DATABASE_URL": self.store.url,
            "AGON_RAY_ADDRESS": self.to_ray.url,
            "AGON_API_URL": self.to_api.url,
            "AGON_LEASE_SECONDS": str(LEASE_SECONDS),
            "AGON_POLL_SECONDS": str(POLL_SECONDS),
            "AGON_STOP_GRACE_SECONDS": str(GRACE_SECONDS),
            "AGON_PREFLIGHT_SECONDS": "0",
            "AGON_DISK_LOW": "0",
            "AGON_LOG_LEVEL": "WARNING",
        }

    def _doom(self, where: Mapping[str, int]) -> str:
        return "" if is_calm(self.world) or self.random.random() >= DOOMED else points.told(where, self.random)

    def _socket(self, name: str) -> Path:
        return self.world / "ray" / f"{name}.socket"

    def log(self, name: str) -> str:
        """The end of what it printed."""
        path = self.world / "logs" / f"{name}.log"
        return path.read_text()[-3000:] if path.exists() else ""

    # -- who dies

    def ready(self, name: str) -> bool:
        """Whether a process of the control plane is at its work."""
        if name in self.ports:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.ports[name]), timeout=1):
                return True
            return False
        return time.monotonic() - self._began[name] > RECONCILER_SECONDS

    def kill_control(self, name: str) -> None:
        """An API process or the reconciler."""
        with self.lock:
            if self._end(name):
                note(self.world, "api" if name in self.ports else "reconciler")

    def kill_head(self, *, forgets: bool) -> None:
        """Ray's head: it comes back with its jobs; or all of Ray, which has forgotten them then."""
        with self.lock:
            if self._end("head"):
                note(self.world, "all of ray" if forgets else "ray head")
            if forgets:
                for node in head.NODES:
                    self._end(node)
                    (self.world / "ray" / f"{node}.alive").unlink(missing_ok=True)
                for place in (*head.NODES, "jobs"):
                    shutil.rmtree(self.world / "ray" / place, ignore_errors=True)
                memory = self.world / "ray" / "memory"
                nursery.put(memory, str(int(memory.read_text()) + 1))

    def kill_node(self, node: str) -> None:
        """A node with all that runs on it."""
        with self.lock:
            if self._end(node):
                note(self.world, "node")
            (self.world / "ray" / f"{node}.alive").unlink(missing_ok=True)

    def _end(self, name: str) -> bool:
        """Kill a process, a node with its group, and wait until it is gone. Whether it was there."""
        if self._dead(name):
            return False
        pid = self._pid(name)
        (os.killpg if name in head.NODES else os.kill)(pid, signal.SIGKILL)
        while not self._dead(name):
            time.sleep(0.005)
        return True

    def _pid(self, name: str) -> int:
        place = self.world / CONTROL / "running" / self._lives[name]
        while not place.exists():
            time.sleep(0.005)
        return int(place.read_text())

    def kill_database(self) -> None:
        """A process of it, or all of it; SQLite has none."""
        killed = self.store.kill(self.random)
        if killed:
            note(self.world, "database", killed)

    def kill_training(self, part: str) -> None:
        """A driver, or a worker, by chance."""
        drivers = [found for node in head.NODES for found in _children(self._pid(node))]
        workers = [found for driver in drivers for found in _children(driver.pid)]
        if chosen := drivers if part == "driver" else workers:
            with suppress(psutil.Error):
                self.random.choice(chosen).kill()
                note(self.world, part)


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.Error:
        return []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
