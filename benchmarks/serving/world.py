"""A stack of its own to be asked, and what its parts take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from service.client import ApiError, Client, ClientError
from service.local import down, up
from service.stack import record as records
from service.stack.layout import Layout
from service.stack.parts import Config
from service.stack.ports import Ports
from service.stack.processes import members

TITLES = {"controller": "ServeController", "proxy": "ProxyActor", "replica": "ServeReplica:models"}
"""How Ray calls Serve's processes."""
PATIENCE = 300.0


class World:
    """Ray with two CPUs, MLflow and the API, in a home that goes with it. settings: AGON_… of the API."""

    def __init__(self, settings: dict[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="agon-serving-")
        self.folder = Path(self._folder.name)
        self.layout = Layout(self.folder / "home")
        os.environ.update(settings)
        os.environ.pop("OMP_NUM_THREADS", None)
        self.config = Config(self.layout, Ports(**dict.fromkeys(vars(Ports()), 0)), cpus=2)

    def __enter__(self) -> World:
        up(self.config)
        found = records.read(self.layout.record)
        assert found is not None
        self.record = found
        self.token = self.layout.token.read_text().strip()
        return self

    def __exit__(self, *_: object) -> None:
        down(self.layout)
        self._folder.cleanup()

    def client(self) -> Client:
        """An administrator's."""
        return Client(self.record.api_url, self.token, patience=PATIENCE)

    def memory(self) -> dict[str, float]:
        """Resident MB of Serve's processes, by part; parts that aren't there are left out."""
        found: dict[str, float] = {}
        for process in members(self.record.stack_id):
            with suppress(psutil.Error):
                title = " ".join(process.cmdline())
                for part, words in TITLES.items():
                    if words in title:
                        found[part] = found.get(part, 0.0) + round(process.memory_info().rss / 1e6, 1)
        return found

    def until(self, holds: Callable[[], bool], what: str) -> float:
        """Seconds until it holds."""
        begun = time.perf_counter()
        while not holds():
            if time.perf_counter() - begun > PATIENCE:
                raise TimeoutError(f"{what} is not so after {PATIENCE:g} s")
            time.sleep(0.2)
        return time.perf_counter() - begun

    def first(self, model: str) -> tuple[float, int]:
        """Seconds until a question is answered, asked again as long as the answer is to wait; and how often that was."""
        begun, asked = time.perf_counter(), 0
        with self.client() as client:
            while True:
                asked += 1
                try:
                    client.generate(model, 1, form="npz")
                    return time.perf_counter() - begun, asked
                except (ApiError, ClientError):
                    if time.perf_counter() - begun > PATIENCE:
                        raise
                    time.sleep(0.2)

    def clients(self, model: str, n: int, clients: int, seconds: float, seed: int) -> dict[str, Any]:
        """What so many clients measure, warm: on a busy machine the replica may have been idle for long enough to end since the last load."""
        self.first(model)
        words = (self.record.api_url, model, str(n), str(clients), str(seconds), str(seed))
        return run("benchmarks.serving.clients", *words, AGON_TOKEN=self.token)


def inside(package: Path, n: int, seconds: float, threads: int, seed: int) -> dict[str, Any]:
    """The same in a process, without any server."""
    words = (str(package), str(n), str(seconds), str(threads), str(seed))
    return run("benchmarks.serving.inside", *words, OMP_NUM_THREADS=str(threads))


def run(module: str, *words: str, **env: str) -> dict[str, Any]:
    """What the module prints."""
    done = subprocess.run(
        [sys.executable, "-m", module, *words], env=os.environ | env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{module} {' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
