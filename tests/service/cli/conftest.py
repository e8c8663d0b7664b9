"""The `agon` command in this process, against the real API on a real port with a Ray that does what a test tells it."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from service.app import create_app
from service.cli.app import run
from service.gateway.fake_ray import FakeRay
from service.gateway.fake_registry import FakeRegistry
from service.gateway.ray_jobs import RayStatus
from service.settings import Settings
from trainer.wire import SEARCH_FILE, JobFile, SearchFile


@dataclass
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def agon(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Result]:
    """Run one command line."""
    monkeypatch.setenv("AGON_HOME", str(tmp_path / "none"))
    for name in ("AGON_URL", "AGON_TOKEN", "MLFLOW_TRACKING_URI", "AGON_MLFLOW_URI"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str) -> Result:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["agon", *arguments])
        try:
            run()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


class World:
    """A running API."""

    def __init__(self, home: Path, database: Path) -> None:
        """database: a migrated one, to copy."""
        home.mkdir()
        shutil.copyfile(database, home / "agon.db")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.settings = Settings(home=home, api_url=self.url, poll_seconds=0.05, log_level="CRITICAL", disk_low=0)
        self.ray, self.registry = FakeRay(cpus=8.0), FakeRegistry()
        app = create_app(self.settings, self.ray, self.registry)
        self.server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1))
        self.thread = threading.Thread(target=self.server.run)

    @property
    def token(self) -> str:
        return self.settings.token_file.read_text().strip()

    def drive(
        self, *events: dict[str, Any], status: RayStatus = RayStatus.SUCCEEDED, log: str = ""
    ) -> threading.Thread:
        """Play the driver of the next job: report these events with the job's own token, then end."""
        known = set(self.ray.starts)

        def driver() -> None:
            while not (new := [name for name in self.ray.starts if name not in known]):
                time.sleep(0.02)
            (path,) = [path for path in self.settings.jobs_root.glob("*/*.json") if path.parent.name in new[0]]
            kind = SearchFile if path.name == SEARCH_FILE else JobFile
            job = kind.model_validate_json(path.read_text())
            self.ray.output[new[0]] = log
            self.ray.move(new[0], RayStatus.RUNNING)
            now = datetime.now(UTC).isoformat()
            wire = [{"seq": seq, "attempt": 1, "time": now, **event} for seq, event in enumerate(events, start=1)]
            url = f"{self.url}/v1/jobs/{job.job_id}/events"
            httpx.post(url, json={"events": wire}, headers={"Authorization": f"Bearer {job.token}"}).raise_for_status()
            self.ray.move(new[0], status, message="the end")

        thread = threading.Thread(target=driver, daemon=True)
        thread.start()
        return thread


@pytest.fixture
def world(tmp_path: Path, agon: object, monkeypatch: pytest.MonkeyPatch, sqlite_template: Path) -> Iterator[World]:
    """An API that `agon` talks to."""
    world = World(tmp_path / "home", sqlite_template)
    world.thread.start()
    while not world.server.started:
        assert world.thread.is_alive(), "the API did not start"
        time.sleep(0.02)
    monkeypatch.setenv("AGON_URL", world.url)
    monkeypatch.setenv("AGON_TOKEN", world.token)
    yield world
    world.server.should_exit = True
    world.thread.join(20)


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """What the command turned into."""
    calls: list[tuple[list[str], dict[str, str]]] = []

    def execve(program: str, arguments: list[str], env: dict[str, str]) -> None:
        assert program == sys.executable
        calls.append((arguments[1:], env))
        raise SystemExit(0)

    monkeypatch.setattr(os, "execve", execve)
    return calls
