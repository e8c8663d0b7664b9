"""What the cluster has."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool

from service.access.callers import Away, user
from service.bodies.cluster import Amount, Cluster, Kept, Spare
from service.context import Context, Ctx
from service.errors import Unavailable
from service.gateway.ray_jobs import RayUnreachableError
from service.runs import served
from service.runs.growth import grown, kinds

router = APIRouter(prefix="/v1/cluster", tags=["cluster"], dependencies=[Depends(user)])


@router.get("")
async def show(ctx: Ctx, errand: Away) -> Cluster:
    """Nodes, CPUs, GPUs and memory, and what may be added to them."""
    try:
        nodes = await ctx.elsewhere.ray.run(ctx.ray.nodes, errand=errand)
    except (RayUnreachableError, Unavailable) as error:
        return Cluster(reachable=False, reason=str(error))
    return Cluster(
        reachable=True,
        nodes=len(nodes),
        cpus=_sum((node.cpus, node.cpus_free) for node in nodes),
        gpus=_sum((node.gpus, node.gpus_free) for node in nodes),
        memory=_sum((node.memory, node.memory_free) for node in nodes),
        spare=tuple(
            Spare(group=shape.name, nodes=shape.nodes, cpus=shape.cpus, gpus=shape.gpus)
            for shape, _ in kinds(grown(nodes, ctx.settings.max_nodes))
        ),
        serving=await run_in_threadpool(_kept, ctx),
    )


def _kept(ctx: Context) -> Kept:
    with ctx.db.read() as session:
        needs = served.needs(session)
    return Kept(cpus=sum(need.total_cpus for need in needs), gpus=sum(need.total_gpus for need in needs))


def _sum(pairs: Iterable[tuple[float, float]]) -> Amount:
    totals, frees = zip(*pairs, strict=True) if (pairs := list(pairs)) else ((0.0,), (0.0,))
    return Amount(total=sum(totals), free=sum(frees))
