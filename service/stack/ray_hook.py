"""Called by `ray start` (RAY_START_HOOK) before it starts anything: what its options don't offer."""

from __future__ import annotations

from typing import Any

LOOPBACK = "127.0.0.1"


def lean(params: Any, head: bool) -> None:
    """One machine, for its user alone.

    Ray replaces a loopback address given as an option by the machine's own, and then listens on all interfaces; so it is set here.
    No Ray Client server: drivers run as Ray jobs, so it would be one more process and one more open port.
    Workers take any free port; by default Ray reserves 10002–19999 and refuses to start if its own port lies among them.
    """
    params.node_ip_address = LOOPBACK
    params.ray_client_server_port = None
    params.min_worker_port = params.max_worker_port = 0
