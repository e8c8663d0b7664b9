"""Why a run isn't running, as a structure."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue

from service.bodies.base import Reply, or_new


class For(StrEnum):
    """What a run waits for."""

    LOOK = "look"  # the control plane's next look
    ROOM = "room"  # others make room for it
    TURN = "turn"  # those ahead, who will take what is free
    CPU = "cpu"
    GPU = "gpu"
    MEMORY = "memory"  # of Ray's head, for its driver
    PLACE = "place"  # enough is free, but not on the same nodes
    CAP = "cap"  # its owner may have no more at once
    TRY = "try"  # the pause after a lost attempt
    NODES = "nodes"  # the cluster's nodes can't hold it even when nothing else runs
    CLUSTER = "cluster"  # nothing is known of the cluster


class Needs(Reply):
    """What it takes."""

    workers: int
    cpus: float
    """Over all workers."""
    gpus: float


class Free(Reply):
    """What of the cluster is free."""

    cpus: float
    gpus: float


class Eta(Reply):
    """When it starts, as far as one can tell."""

    early: datetime
    late: datetime | None
    """Null: nobody knows how long some of those take that it waits for."""
    sure: str
    """`told`: by what the runs that it waits for say of their ends. `likely`: by how long others like them took. `open`: not even that is
    known of all."""


class Cheaper(Reply):
    """What would start it sooner."""

    change: dict[str, JsonValue]
    """Fields of its spec, as an edit takes them."""
    starts: Eta


class Delay(Reply):
    """By how much it counts as submitted later, from its submission on, because of what its owner had used and had in hand then."""

    hours: float
    used_hours: float
    """What its owner had used, of which half counts no more after a week, in hours of the whole cluster."""
    held_hours: float
    """An hour for each of their runs that waited or was on the cluster, as far as it filled the cluster."""
    passed_by: int
    """So many runs of others are ahead in the line that were behind it without the delay."""


class Waiting(Reply):
    """What a run waits for. Lists, and answers to changes, leave out `ahead`, `eta`, `cheaper` and `delay`."""

    model_config = ConfigDict(serialize_by_alias=True)

    for_: Annotated[For, or_new(For), Field(alias="for")]
    """`cpu`, `gpu`: too little of it is free. `memory`: too little for its driver, on Ray's head node. `place`: enough is free, but not on
    the same nodes. `turn`: those ahead will take what is free. `room`: others make room for it. `cap`: its owner may have no more at
    once. `try`: the pause after a lost attempt. `look`: the control plane's next look. `nodes`: nodes that hold it, which the cluster
    hasn't. `cluster`: Ray, which doesn't answer."""
    needs: Needs
    free: Free | None
    """Null: it isn't known."""
    position: int | None
    """In the line, from 1; null: it stands beside it, because no such nodes are there, because of a cap, or until its pause is over."""
    ahead: tuple[str, ...] = ()
    """The first runs in the line."""
    eta: Eta | None = None
    """Null: nothing can be said."""
    cheaper: tuple[Cheaper, ...] = ()
    """Changes with which it would start at once, or sooner."""
    delay: Delay | None = None
    """Null: it counts as submitted when it was."""
