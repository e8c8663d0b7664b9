"""The three parts of the embedded stack: how each is started, and how to tell that it is ready."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from service.stack.layout import Layout
from service.stack.ports import LOOPBACK, Ports, base_url, free_ports, reached_at
from service.stack.processes import PART_ENV, STACK_ENV
from trainer.proxies import direct

START_ORDER = ("ray", "mlflow", "api")
STOP_ORDER = ("api", "ray", "mlflow")  # no new work, then the jobs, then what they report to
GRACE = {"api": 8.0, "ray": 12.0, "mlflow": 6.0}
PORTS_OF = {"ray": ("dashboard", "gcs", "serve"), "mlflow": ("mlflow",), "api": ("api",)}
WARM_ENV = "AGON_WARM_WORKERS"
WARM = 4
"""Processes kept ready for the next job, some 300 MB each: two workers and Ray Train's two helpers. AGON_WARM_WORKERS
says another number."""


@dataclass(frozen=True)
class Config:
    """What a user can choose about the stack."""

    layout: Layout
    ports: Ports = field(default_factory=Ports)
    host: str = LOOPBACK
    """Address that the API binds to. Ray and MLflow stay on loopback."""
    cpus: int | None = None
    """CPUs that Ray gives to jobs; None: all."""
    data_roots: tuple[str, ...] = ()
    """Folders that jobs may read datasets from, beside AGON_DATA_ROOTS and `data` in home."""


@dataclass(frozen=True)
class Part:
    """One part of the stack, as it is started."""

    name: str
    title: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    url: str
    probes: tuple[str, ...]
    """URLs that answer 200 once it is ready; the first alone tells later whether it is still there."""
    token: str | None = None
    then: tuple[str, ...] = ()
    """Command to run once it is ready; ends by itself, and nothing waits for it."""

    def ready(self) -> bool:
        """Whether it can do its work."""
        return all(_answers(url, self.token) for url in self.probes)

    def answers(self) -> bool:
        """Whether it is there."""
        return _answers(self.probes[0], self.token)


def build(name: str, config: Config, stack_id: str) -> Part:
    """The part called `name` of START_ORDER."""
    env = {**os.environ, STACK_ENV: stack_id, PART_ENV: name}
    env |= direct(env, base_url(config.host, config.ports.api))  # the parts, and the jobs below them, find each other
    return {"ray": _ray, "mlflow": _mlflow, "api": _api}[name](config, env)


def ray_env(layout: Layout) -> dict[str, str]:
    """What Ray's head, its clients and its drivers need to agree on the token."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(layout.ray_token)}


def _ray(config: Config, env: dict[str, str]) -> Part:
    layout, ports = config.layout, config.ports
    (agent,) = free_ports(1)
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block",
        "--port", str(ports.gcs),
        "--include-dashboard", "true", "--dashboard-host", LOOPBACK, "--dashboard-port", str(ports.dashboard),
        "--dashboard-agent-listen-port", str(agent),
        "--temp-dir", str(layout.ray_temp), "--disable-usage-stats", "--log-color", "false",
    ]  # fmt: skip
    if config.cpus is not None:
        command += ["--num-cpus", str(config.cpus)]
    env |= ray_env(layout) | {
        "SPT_NOENV": "1",  # Ray's process titles would otherwise overwrite STACK_ENV in /proc
        "RAY_START_HOOK": "service.stack.ray_hook.lean",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # no other nodes: what resolves to this machine stays on loopback
        "RAY_COLOR_PREFIX": "0",  # logs are read as files and over HTTP
        "RAY_JOB_STOP_SIGNAL": "SIGINT",  # what Ray Train listens for
        "RAY_JOB_STOP_WAIT_TIME_S": "30",  # time for a last checkpoint
        "RAY_preload_python_modules": "trainer.launch.preload",
        "RAY_worker_niceness": "0",  # training is what this stack is for; Ray's 15 lets any other program starve it
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # one more process per job; this machine is not taken away
    }
    warm = (sys.executable, "-m", "trainer.launch.warm", env.get(WARM_ENV, str(WARM)), f"{LOOPBACK}:{ports.gcs}")
    url = f"http://{LOOPBACK}:{ports.dashboard}"
    probes = (f"{url}/api/version", f"http://{LOOPBACK}:{agent}/api/local_raylet_healthz")
    return Part("ray", "Ray", tuple(command), env, url, probes, layout.ray_token.read_text().strip(), warm)


def _mlflow(config: Config, env: dict[str, str]) -> Part:
    folder, port = config.layout.mlflow.relative_to(config.layout.home), config.ports.mlflow
    command = (
        sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(port), "--workers", "1",
        # Relative to home, where it starts: MLflow reads `%2F` and `?` in a path as a URL's, and twice where it deletes artifacts.
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
        "--serve-artifacts", "--artifacts-destination", f"{folder}/artifacts",
    )  # fmt: skip
    env |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    url = f"http://{LOOPBACK}:{port}"
    return Part("mlflow", "MLflow", command, env, url, (f"{url}/health",))


def _api(config: Config, env: dict[str, str]) -> Part:
    layout, ports = config.layout, config.ports
    command = (
        sys.executable, "-m", "uvicorn", "service.app:create_app", "--factory",
        "--host", config.host, "--port", str(ports.api), "--timeout-graceful-shutdown", "2", "--no-proxy-headers",
    )  # fmt: skip
    url = base_url(config.host, ports.api)
    env |= {
        "AGON_HOME": str(layout.home),
        "AGON_TOKEN_FILE": str(layout.token),
        "AGON_RAY_ADDRESS": f"http://{LOOPBACK}:{ports.dashboard}",
        "AGON_RAY_TOKEN_FILE": str(layout.ray_token),
        "AGON_MLFLOW_URI": f"http://{LOOPBACK}:{ports.mlflow}",
        "AGON_API_URL": url,
        "AGON_SERVE_URL": f"http://{LOOPBACK}:{ports.serve}",
    }
    if config.data_roots:
        own = env.get("AGON_DATA_ROOTS") or str(layout.home / "data")
        env["AGON_DATA_ROOTS"] = os.pathsep.join((own, *config.data_roots))
    if hosts := env.get("AGON_ALLOWED_HOSTS"):  # without it the API serves loopback and AGON_API_URL's host
        env["AGON_ALLOWED_HOSTS"] = f"{hosts},{reached_at(config.host).lower()}"
    return Part("api", "API", command, env, url, (f"{url}/healthz",))


def _answers(url: str, token: str | None = None) -> bool:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        return httpx.get(url, headers=headers, timeout=2.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
