"""The spec's section on its turn: how soon it starts while others wait, and whether it makes room for them."""

from __future__ import annotations

from pydantic import Field

from trainer.schema import Frozen

MOST_PRIORITY = 100


class Queue(Frozen):
    """Its turn among those that wait for the cluster (docs/queue.md). What is computed doesn't depend on it."""

    priority: int = Field(default=50, ge=0, le=MOST_PRIORITY)
    """Higher starts sooner. Each hour since its submission counts as one more, for all alike, so nobody waits for ever."""
    preemptible: bool = False
    """Whether it may be paused, with a checkpoint, for one of a higher priority that waits; it goes on by itself."""
