"""The embedded stack that the system tests share, and the command line that belongs to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from service.client import Client
from service.stack import record as records
from service.stack.layout import Layout
from service.stack.parts import ray_env
from service.stack.ports import OPTIONS

CPUS = 2
DEAD_PROXY = "http://127.0.0.1:9"


class Stack:
    """Ray with `CPUS` CPUs, MLflow and the API, of one home."""

    def __init__(self, home: Path) -> None:
        self.layout = Layout(home)
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("AGON_")}
        self.env.pop("OMP_NUM_THREADS", None)  # a person's shell doesn't say it either
        self.env |= {"AGON_HOME": str(home), "COLUMNS": "200"}
        # A company's machine: whatever is sent to that proxy is lost, and all that the stack says to itself must not be.
        self.env |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"), DEAD_PROXY)

    def start(self) -> None:
        """As a person does, on free ports."""
        options = [word for option in OPTIONS.values() for word in (option, "0")]
        self.agon("up", "--cpus", str(CPUS), *options)

    @property
    def found(self) -> records.StackRecord | None:
        """What is written of a stack that runs."""
        return records.read(self.layout.record)

    @property
    def record(self) -> records.StackRecord:
        found = self.found
        assert found is not None
        return found

    @property
    def mlflow(self) -> str:
        """URL of the tracking server and registry."""
        return self.record.parts["mlflow"].url

    @property
    def ray(self) -> str:
        """URL of Ray's dashboard, which takes jobs."""
        return self.record.parts["ray"].url

    def ray_driver(self) -> dict[str, str]:
        """What a driver that no job agent started needs in its environment."""
        ours = {
            "RAY_ADDRESS": f"127.0.0.1:{self.record.ports['gcs']}",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray replaces 127.0.0.1 by an address that nothing listens on
            "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
        }
        return ray_env(self.layout) | ours

    def client(self) -> Client:
        return Client(self.record.api_url, self.layout.token.read_text().strip(), patience=60.0)

    def agon(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "service.cli", *arguments]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=300)
        assert code is None or done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done
