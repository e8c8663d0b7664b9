"""Both servers, each a process of its own, as its users start it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

READY_SECONDS = 120.0


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def agon(home: Path) -> Iterator[str]:
    """The API with its page, without Ray and MLflow behind it; its URL."""
    port = free_port()
    environment = {
        **os.environ, "AGON_HOME": str(home), "AGON_RECONCILER": "false", "AGON_WEBHOOKS": "false", "AGON_LOG_LEVEL": "ERROR",
        "AGON_API_URL": f"http://127.0.0.1:{port}", "AGON_SERVE": "false",
    }  # fmt: skip
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "service.app:create_app",
        "--factory",
        "--port",
        str(port),
        "--log-level",
        "error",
    ]
    with _served(command, environment, home, f"http://127.0.0.1:{port}", "/healthz") as url:
        yield url


@contextmanager
def mlflow(store: str, folder: Path) -> Iterator[str]:
    """MLflow's server; its URL."""
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", store, "--serve-artifacts", "--artifacts-destination", str(folder),
    ]  # fmt: skip
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with _served(command, environment, folder, f"http://127.0.0.1:{port}", "/health") as url:
        yield url


@contextmanager
def _served(command: list[str], environment: dict[str, str], folder: Path, url: str, ready: str) -> Iterator[str]:
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        until = time.monotonic() + READY_SECONDS
        while not _answers(url + ready):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{command[2]} did not start; {folder / 'server.log'} says why")
            time.sleep(0.2)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # with the workers that it has started; nothing here is to be kept
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
