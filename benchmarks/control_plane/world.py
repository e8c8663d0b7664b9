"""A control plane under load: its database, its server process, and what is measured of that from outside."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil
import psycopg

from benchmarks.chaos.databases import PostgresStore
from benchmarks.control_plane.sampler import Sampler
from service.access.tokens import read_or_create
from service.db.migrate import upgrade
from service.db.session import Database
from service.settings import Settings, sqlite_url

START_SECONDS = 120.0
DURABLE = ("listen_addresses=127.0.0.1", "max_connections=150", "shared_buffers=128MB")
"""Settings of PostgreSQL; `fsync` is on, as by default."""


@dataclass
class Spent:
    """CPU seconds of a while: of the server, and of PostgreSQL's processes."""

    seconds: float = 0.0
    server: float = 0.0
    database: float = 0.0
    lines: tuple[str, ...] = ()
    """What the sampler says."""

    def row(self, requests: int) -> dict[str, float]:
        """Columns of a report."""
        return {
            "cpu_ms": round(1e3 * self.server / max(1, requests), 2),
            "database_cpu_ms": round(1e3 * self.database / max(1, requests), 2),
            "cores": round(self.server / self.seconds, 2) if self.seconds else 0.0,
        }


class World:
    """A context manager. kind: sqlite or postgres. It has an empty database, and no server until `start`."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.home = Path(tempfile.mkdtemp(prefix="agon-load-"))
        self.postgres = PostgresStore(DURABLE) if kind == "postgres" else None
        self.server: Server | None = None
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self.postgres is not None:
            self.postgres.close()
        shutil.rmtree(self.home, ignore_errors=True)

    @contextmanager
    def fresh(self) -> Iterator[Database]:
        """An empty database, which the server uses from now on."""
        self.stop()
        self._count += 1
        name = f"load{self._count}"
        if self.postgres is None:
            self.url = sqlite_url(self.home / f"{name}.db")
        else:
            with psycopg.connect(self.postgres.url, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}")
            self.url = self.postgres.url.rpartition("/")[0] + f"/{name}"
        db = Database(self.url)
        upgrade(db)
        try:
            yield db
        finally:
            self.stop()
            db.close()

    @property
    def token(self) -> str:
        """The administrator's."""
        return read_or_create(Settings(home=self.home).token_file)

    def start(self, ray: list[tuple[str, str]] | None = None) -> Server:
        """A server that answers. ray: submissions that the cluster knows, with their status."""
        assert self.token
        known = self.home / "ray.json"
        known.write_text(json.dumps(ray or []))
        self.server = Server(self.home, self.url, known)
        return self.server

    def stop(self) -> None:
        """End the server, if there is one."""
        if self.server is not None:
            self.server.stop()
            self.server = None

    @contextmanager
    def measured(self) -> Iterator[Spent]:
        """CPU times of a while, known at its end."""
        assert self.server is not None
        spent, server, sampler = Spent(), self.server, Sampler(self.server.process.pid)
        before, began = (server.cpu(), self._database_cpu()), time.monotonic()
        yield spent
        spent.seconds = time.monotonic() - began
        spent.server, spent.database = server.cpu() - before[0], self._database_cpu() - before[1]
        spent.lines = tuple(sampler.stop())

    def _database_cpu(self) -> float:
        if self.postgres is None:
            return 0.0
        root = psutil.Process(self.postgres.server.pid)
        own = root.cpu_times()
        found = own.user + own.system + own.children_user + own.children_system  # the latter: of those that have ended
        for process in root.children(recursive=True):
            with suppress(psutil.Error):
                times = process.cpu_times()
                found += times.user + times.system
        return found


class Server:
    """The process."""

    def __init__(self, home: Path, database_url: str, ray: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{port}"
        given = {"home": str(home), "database_url": database_url, "port": port, "ray": str(ray)}
        self.began = time.monotonic()
        self.log = home / "server.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.control_plane.server", json.dumps(given)],
                stdout=log,
                stderr=log,
            )
        self._wait()
        self.answers = time.monotonic()
        """When it first answered."""

    def _wait(self) -> None:
        while True:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/healthz", timeout=2.0, trust_env=False).status_code == 200:
                    return
            if self.process.poll() is not None or time.monotonic() > self.began + START_SECONDS:
                raise RuntimeError(f"the server did not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.02)

    def cpu(self) -> float:
        """Seconds that it has used so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    def stop(self) -> None:
        """As a supervisor does."""
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
