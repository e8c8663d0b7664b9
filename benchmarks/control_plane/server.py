"""The server under load: `python -m benchmarks.control_plane.server '{"home": …, "database_url": …, "port": …, "ray": …}'`.

`ray` is a file with what the cluster knows: `[[submission id, status], …]`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import uvicorn

from service.app import create_app
from service.gateway.fake_ray import FakeRay
from service.gateway.ray_jobs import Node, RayJob, RayStatus
from service.settings import Settings

NODES, CPUS, GPUS = 64, 64, 8


def full_cluster() -> FakeRay:
    """Many nodes, of which nothing is free: whoever comes waits."""
    ray = FakeRay()
    ray.cluster = [Node(f"node-{index}", CPUS, 0.0, GPUS, 0.0) for index in range(NODES)]
    return ray


def main() -> None:
    """Serve until SIGTERM."""
    given = json.loads(sys.argv[1])
    ray = full_cluster()
    for name, status in json.loads(Path(given["ray"]).read_text()):
        ray.jobs[name] = RayJob(name, RayStatus(status), "")
    url = f"http://127.0.0.1:{given['port']}"
    settings = Settings(home=Path(given["home"]), database_url=given["database_url"], api_url=url)
    # A factory, as `agon up` names one: made any earlier, the application's logging would be replaced by the server's.
    config = uvicorn.Config(
        lambda: create_app(settings, ray),
        factory=True,
        port=given["port"],
        proxy_headers=False,
        timeout_graceful_shutdown=2,
        backlog=4096,
    )
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
