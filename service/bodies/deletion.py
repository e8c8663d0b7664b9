"""Body about what is deleted."""

from __future__ import annotations

from service.bodies.base import Reply


class Deleted(Reply):
    """A run that is deleted, and of which something is left for now; the same call again goes on with it."""

    id: str
    left: tuple[str, ...]
    """What could not be removed yet and why, for a person."""
