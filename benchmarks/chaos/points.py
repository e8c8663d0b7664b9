"""Where processes are told to die."""

from __future__ import annotations

import random
from collections.abc import Mapping

COMMIT = "a commit"
CALLS = {"submit": 3, "status": 15, "stop": 1, "logs": 3, "submissions": 1, "nodes": 8}
"""Of the control plane's gateway to Ray; and how often a process may come there, at most, before it dies."""
CONTROL = {
    f"{when} {what}": most
    for what, most in {COMMIT: 40, **{f"Ray's {call}": most for call, most in CALLS.items()}}.items()
    for when in ("before", "after")
}
"""Of an API process, and of a reconciler."""
HEAD = {
    "before a job is written down": 3,
    "before its driver starts": 3,
    "before the submission is answered": 3,
    "before a stop": 1,
    "after a stop": 1,
}
DRIVER = {"before its last word": 1, "after its last word": 1}
WORKER = {
    "before a checkpoint": 5,
    "after a checkpoint": 5,
    "before an event": 20,
    "after an event": 20,
    "before a stop is saved": 1,
}


def told(points: Mapping[str, int], chance: random.Random) -> str:
    """One of them, as `Doom` reads it."""
    point = chance.choice(list(points))
    return f"{point}:{chance.randint(1, points[point])}"
