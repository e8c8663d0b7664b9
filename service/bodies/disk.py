"""Bodies about the disk that runs lie on: what could go, and how full it is."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field

from service.bodies.base import Reply, Request


class Collect(Request):
    """What of the garbage is to be collected."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"dry_run": True}, {"dry_run": True, "samples_days": 90}]}
    )

    dry_run: bool = True
    """Only say what would go."""
    samples_days: Annotated[float, Field(ge=0, le=1e6)] | None = None
    """Also the sample grids, but for the newest, of runs that ended more than so many days ago; null: none."""
    cursor: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """`next_cursor` of the call before; 0: from the beginning."""


class Garbage(Reply):
    """Something that can go, or went."""

    what: str
    """checkpoint, samples, leftover (of a process that died) or deletion (that broke off)."""
    run: str | None
    trial: str | None
    step: int | None
    count: int
    """How many files or folders."""
    bytes: int
    """That the disk gains: what a pin or a fork holds, too, gains nothing."""
    reason: str
    """Why it can go, for a person."""


class Collected(Reply):
    """A part of all runs."""

    dry_run: bool
    items: tuple[Garbage, ...]
    bytes: int
    """Of all items."""
    left: tuple[str, ...]
    """What could not be removed and why, for a person."""
    leaving: int = 0
    """Runs that have ended but whose drivers aren't gone, as they are some seconds later: of these nothing is collected yet. Counted
    by the first call, for all runs."""
    next_cursor: int | None
    """Give it as `cursor` to go on; null: all runs were looked at."""


class Disk(Reply):
    """The disk that the folders of runs lie on."""

    path: str
    """The folder of these folders."""
    total: int
    """Bytes."""
    free: int
    low: bool
    """Whether less of it is free than the server's threshold (`AGON_DISK_LOW`)."""
    warning: str
    """For a person, if it is low; else empty."""
    sizes: dict[str, int] | None
    """Bytes by what takes them: checkpoints, samples, models, logs, other, and the cache, which may lie on another disk; null: they are
    still being counted, or were not asked for."""
    counted_at: datetime | None
    """When they were counted; some minutes ago, perhaps."""
