"""A Ray cluster that grows and shrinks on this machine, with the control plane that hands jobs to it.

Ray's own `ray.cluster_utils.AutoscalingCluster` would do, but it begins with `ray stop --force`, which ends every Ray of this machine, and
needs a file that Ray's package leaves out. So the head is started here as that class does: with Ray's provider of nodes that are further
raylets of this machine.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from service.client import Client, Job
from service.gateway.ray_jobs import HttpRayJobs, Node
from service.stack.ports import free_ports

HEAD = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"
"""The head's id, as Ray's provider of such nodes has it."""
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
IDLE_MINUTES = 0.1
"""After so long without work a node is stopped."""


class GrowingCluster:
    """A head without CPUs, and up to `most` nodes of one CPU in the group `small`; and an API."""

    def __init__(self, home: Path, most: int, *, max_nodes: str) -> None:
        self.home = home
        self.gcs, self.dashboard, self.agent, self.port = free_ports(4)
        self.ray_token, self.token = home / "ray-token", home / "token"
        for path in (self.ray_token, self.token):
            path.write_text(secrets.token_hex(32))
            path.chmod(0o600)
        self._config = home / "autoscaling.json"
        self._config.write_text(json.dumps(self._settings(most)))
        self._max_nodes = max_nodes
        # Ray's sockets lie below it, and their paths may be no longer than 107 bytes.
        self._ray_temp = Path(tempfile.mkdtemp(prefix="agon-"))
        self._parts: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Ray's head, then the API."""
        head = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus", "0",
            "--autoscaling-config", str(self._config), "--port", str(self.gcs), "--dashboard-port", str(self.dashboard),
            "--dashboard-agent-listen-port", str(self.agent), "--temp-dir", str(self._ray_temp),
            "--object-store-memory", str(100 << 20), "--disable-usage-stats", "--include-dashboard", "true",
        ]  # fmt: skip
        self._start(head, "ray")
        headers = {"Authorization": f"Bearer {self.ray_token.read_text()}"}
        for url in (
            f"http://127.0.0.1:{self.dashboard}/api/version",
            f"http://127.0.0.1:{self.agent}/api/local_raylet_healthz",
        ):
            self._answers(url, headers)
        api = [sys.executable, "-m", "uvicorn", "service.app:create_app", "--factory", "--port", str(self.port)]
        self._start(api, "api")
        self._answers(f"http://127.0.0.1:{self.port}/healthz", {})

    def stop(self) -> None:
        """All of it, and what it has started."""
        for part in reversed(self._parts):
            root = [psutil.Process(part.pid)] if part.poll() is None else []
            for process in [*root, *(child for one in root for child in one.children(recursive=True))]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            part.wait(30)
        shutil.rmtree(self._ray_temp, ignore_errors=True)

    def client(self) -> Client:
        return Client(f"http://127.0.0.1:{self.port}", self.token.read_text(), patience=60.0)

    def nodes(self) -> list[Node]:
        """As the gateway sees them, without the head."""
        ray = HttpRayJobs(f"http://127.0.0.1:{self.dashboard}", self.ray_token)
        try:
            return [node for node in ray.nodes() if not node.head]
        finally:
            ray.close()

    def log(self, name: str) -> str:
        return (self.home / f"{name}.log").read_text()[-4000:]

    def _settings(self, most: int) -> dict[str, object]:
        kinds = {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "min_workers": 0, "max_workers": 0},
            "small": {
                "resources": {"CPU": 1, "object_store_memory": 100 << 20},
                "node_config": {},
                "min_workers": 0,
                "max_workers": most,
            },
        }
        provider = {
            "type": "external",
            "module": PROVIDER,
            "gcs_address": f"127.0.0.1:{self.gcs}",
            "head_node_id": HEAD,
            "launch_multiple": True,
        }
        return {
            "cluster_name": "growing", "max_workers": most, "provider": provider | {"worker_rpc_drain": True},
            "available_node_types": kinds, "head_node_type": "ray.head.default", "idle_timeout_minutes": IDLE_MINUTES,
            "upscaling_speed": 1, "auth": {}, "docker": {}, "file_mounts": {}, "cluster_synced_files": [],
            "initialization_commands": [], "setup_commands": [], "head_setup_commands": [], "worker_setup_commands": [],
            "head_start_ray_commands": [], "worker_start_ray_commands": [],
        }  # fmt: skip

    def _environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AGON_"))}
        ray = {
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.ray_token), "RAY_FAKE_CLUSTER": "1",
            "RAY_START_HOOK": "service.stack.ray_hook.lean", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "30",
            "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0", "AGON_RESIZE_SECONDS": "2",
        }  # fmt: skip
        # The autoscaler of the second version, as KubeRay has it.
        ray |= {
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": HEAD,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
        }
        agon = {
            "AGON_HOME": str(self.home), "AGON_RAY_ADDRESS": f"http://127.0.0.1:{self.dashboard}",
            "AGON_API_URL": f"http://127.0.0.1:{self.port}", "AGON_MAX_NODES": self._max_nodes, "AGON_SERVE": "false",
        }  # fmt: skip
        return clean | ray | agon

    def _start(self, command: list[str], name: str) -> None:
        with (self.home / f"{name}.log").open("wb") as log:
            self._parts.append(subprocess.Popen(command, env=self._environment(), stdout=log, stderr=log))

    def _answers(self, url: str, headers: dict[str, str]) -> None:
        end = time.monotonic() + 90
        while time.monotonic() < end:
            try:
                if httpx.get(url, headers=headers, timeout=5.0, trust_env=False).is_success:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        raise AssertionError(f"{url} didn't answer\n{self.log('ray')}")


def until(client: Client, job: str, reached: Callable[[Job], object], seconds: float = 120.0) -> Job:
    """As the job is once that is so."""
    end = time.monotonic() + seconds
    while not reached(found := client.job(job)):
        assert time.monotonic() < end, f"{found.state}, {found.reason}\n{client.logs(job, tail=40)}"
        assert not found.ended, f"{found.state}, {found.failure}\n{client.logs(job, tail=60)}"
        time.sleep(0.2)
    return found
