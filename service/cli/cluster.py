"""agon cluster: what there is to train on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.cli.disk import rows as rows_of_disk
from service.cli.disk import tell
from service.cli.output import Exit, fail, out, print_json, print_table, size
from service.cli.specs import Json

if TYPE_CHECKING:
    from service.bodies.cluster import Spare
    from service.client import Client, Disk


def cluster(json_: Json = False) -> None:
    """Show what the cluster has, what of it is free, and by how many nodes it may grow; and the disk that the folders of runs lie on,
    with what takes it.

    What is free may be some seconds old, what takes the disk some minutes. Memory is what jobs may reserve, as Ray counts it, not what
    processes use. Exit code 1 if the server can't reach Ray.

    Examples:

    - `agon cluster`
    - `agon cluster --json | jq .gpus.free`
    """
    from service.client import Client

    with Client() as client:
        found, disk = client.cluster(), _disk(client)
    if json_:
        print_json({**found.model_dump(mode="json"), "disk": disk.model_dump(mode="json") if disk else None})
    elif found.reachable:
        out.print(f"{counted(found.nodes)}{''.join(map(_more, found.spare))}")
        rows = [
            ("CPUs", f"{found.cpus.total:g}", f"{found.cpus.free:g}"),
            ("GPUs", f"{found.gpus.total:g}", f"{found.gpus.free:g}"),
            ("memory", size(found.memory.total), size(found.memory.free)),
            *(rows_of_disk(disk) if disk else ()),
        ]
        print_table(("", "total", "free"), rows, "")
    if disk:
        tell(disk)
    if not found.reachable:
        fail(found.reason, Exit.FAILED)


def counted(nodes: int) -> str:
    """`1 node`, `2 nodes`."""
    return f"{nodes} node{'' if nodes == 1 else 's'}"


def _more(spare: Spare) -> str:
    """What it may grow by: `, and up to 4 more with 64 CPUs and 8 GPUs each (gpu-8)`."""
    gpus = f" and {spare.gpus:g} GPU{'' if spare.gpus == 1 else 's'}" if spare.gpus else ""
    each = " each" if spare.nodes > 1 else ""
    name = f" ({spare.group})" if spare.group else ""
    return f", and up to {spare.nodes} more with {spare.cpus:g} CPU{'' if spare.cpus == 1 else 's'}{gpus}{each}{name}"


def _disk(client: Client) -> Disk | None:
    """None: this server doesn't say, or can't."""
    from service.client import NotFound, Unavailable

    try:
        return client.disk()
    except (NotFound, Unavailable):
        return None
