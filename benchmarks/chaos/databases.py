"""The databases under it: a SQLite file, or a PostgreSQL server of its own, whose processes can be killed."""

from __future__ import annotations

import getpass
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import psutil
import psycopg

OPTIONS = ("listen_addresses=127.0.0.1", "max_connections=150", "fsync=off", "shared_buffers=32MB")
START_SECONDS = 300.0


class Store(Protocol):
    """One database."""

    url: str

    def kill(self, chance: random.Random) -> str | None:
        """Kill something of it, and bring it back. What it was; None: it has no processes of its own."""

    def close(self) -> None:
        """Stop it, and remove it."""


class SqliteStore:
    """A file: whoever writes into it is what is killed."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'agon.db'}"

    def kill(self, chance: random.Random) -> str | None:
        """Nothing."""
        return None

    def close(self) -> None:
        """Nothing: the file goes with its folder."""


class PostgresStore:
    """A server in a folder of its own. It is killed as a process is, not as a machine: by default `fsync` is off, the page cache stays."""

    def __init__(self, options: Sequence[str] = OPTIONS) -> None:
        self.settings = options
        root = os.geteuid() == 0
        self.user = "nobody" if root else getpass.getuser()  # postgres refuses to run as root
        self.folder = Path(tempfile.mkdtemp(prefix="agon-pg-"))
        if root:
            shutil.chown(self.folder, self.user)
        self.options: dict[str, Any] = {"cwd": self.folder} | ({"user": self.user} if root else {})
        command = ["initdb", "-D", self.folder / "data", "-U", "agon", "-A", "trust", "-N", "--no-instructions"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **self.options)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"postgresql://agon@127.0.0.1:{self.port}/postgres"
        self.server = self._start()

    def kill(self, chance: random.Random) -> str | None:
        """A backend in the midst of its work, upon which PostgreSQL restarts all of them; or the server at once, without a checkpoint."""
        backends = psutil.Process(self.server.pid).children()
        if chance.random() < 0.5 and backends:
            with suppress(psutil.Error):
                chance.choice(backends).kill()
            return "a process of the server"
        self.server.send_signal(signal.SIGKILL if chance.random() < 0.5 else signal.SIGQUIT)
        self.server.wait()
        self.server = self._start()
        return "the server"

    def close(self) -> None:
        """See Store."""
        self.server.send_signal(signal.SIGQUIT)
        self.server.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> subprocess.Popen[bytes]:
        """One that answers. Backends of a server that was killed end in a moment; until then their memory is in its way."""
        settings = [f"--{item}" for item in (*self.settings, f"unix_socket_directories={self.folder}")]
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            with (self.folder / "log").open("ab") as log:
                command = ["postgres", "-D", str(self.folder / "data"), "-p", str(self.port), *settings]
                server = subprocess.Popen(command, stdout=log, stderr=log, **self.options)
            while server.poll() is None and time.monotonic() < until:
                with suppress(psycopg.Error), psycopg.connect(self.url, connect_timeout=2):
                    return server
                time.sleep(0.05)
            time.sleep(0.1)
        raise RuntimeError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()[-2000:]}")


def store(kind: str, folder: Path) -> Store:
    """`sqlite` or `postgres`."""
    return SqliteStore(folder) if kind == "sqlite" else PostgresStore()
