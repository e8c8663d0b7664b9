"""Called by `ray start` (RAY_START_HOOK) before it starts anything: leaves out what one machine doesn't need."""

from __future__ import annotations

from typing import Any


def lean(params: Any, head: bool) -> None:
    """No Ray Client server: drivers run as Ray jobs, so it would be one more process and one more open port."""
    params.ray_client_server_port = None
