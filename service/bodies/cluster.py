"""Body about the cluster."""

from __future__ import annotations

from service.bodies.base import Reply


class Amount(Reply):
    """How much there is."""

    total: float = 0.0
    free: float = 0.0


class Kept(Reply):
    """A place on the cluster."""

    cpus: float = 0.0
    gpus: float = 0.0


class Spare(Reply):
    """Nodes of one kind that an autoscaler may still start."""

    group: str = ""
    """Ray's name of their group; empty: they are known by their size."""
    nodes: int
    cpus: float
    """Of one."""
    gpus: float
    """Of one."""


class Cluster(Reply):
    """Capacity as Ray reports it; what is free may be some seconds old."""

    reachable: bool
    reason: str = ""
    """Why Ray can't be reached."""
    nodes: int = 0
    cpus: Amount = Amount()
    gpus: Amount = Amount()
    memory: Amount = Amount()
    """Bytes that jobs may reserve, as Ray counts them; it does not measure what processes use."""
    spare: tuple[Spare, ...] = ()
    """What the cluster may grow by, as the server was told (`AGON_MAX_NODES`)."""
    serving: Kept = Kept()
    """Of the CPUs and GPUs, kept for what answers questions to models, whether or not it uses them now."""
