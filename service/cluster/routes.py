"""What the cluster has."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from service.auth.access import Away, user
from service.context import Ctx
from service.errors import Unavailable
from service.gateway.ray_jobs import RayUnreachableError

router = APIRouter(prefix="/v1/cluster", tags=["cluster"], dependencies=[Depends(user)])


class Amount(BaseModel):
    """How much there is."""

    total: float = 0.0
    free: float = 0.0


class ClusterReply(BaseModel):
    """Capacity as Ray reports it; what is free may be some seconds old."""

    reachable: bool
    reason: str = Field(default="", description="Why Ray can't be reached.")
    nodes: int = 0
    cpus: Amount = Amount()
    gpus: Amount = Amount()
    memory: Amount = Field(
        default=Amount(),
        description="Bytes that jobs may reserve, as Ray counts them; it does not measure what processes use.",
    )


@router.get("")
async def show(ctx: Ctx, errand: Away) -> ClusterReply:
    """Nodes, CPUs, GPUs and memory."""
    try:
        nodes = await ctx.elsewhere.ray.run(ctx.ray.nodes, errand=errand)
    except (RayUnreachableError, Unavailable) as error:
        return ClusterReply(reachable=False, reason=str(error))
    return ClusterReply(
        reachable=True,
        nodes=len(nodes),
        cpus=_sum((node.cpus, node.cpus_free) for node in nodes),
        gpus=_sum((node.gpus, node.gpus_free) for node in nodes),
        memory=_sum((node.memory, node.memory_free) for node in nodes),
    )


def _sum(pairs: Iterable[tuple[float, float]]) -> Amount:
    totals, frees = zip(*pairs, strict=True) if (pairs := list(pairs)) else ((0.0,), (0.0,))
    return Amount(total=sum(totals), free=sum(frees))
