"""The process group of Ray Train's workers.

Ray's own `TorchTrainer` differs from its base class by this alone, but its module imports torch; that would cost the
driver and the controller, which train nothing, two seconds of every job's start. Here torch is imported on the
workers only.
"""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ray.train.backend import Backend, BackendConfig

from trainer.launch import log
from trainer.launch.preempt import catch_sigterm

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

COLLECTIVE_TIMEOUT = timedelta(minutes=30)
"""How long a collective waits for a rank before it is an error."""


class ProcessGroup(BackendConfig):  # type: ignore[misc]
    """Sets up torch.distributed on the workers: NCCL if they have GPUs, else gloo. From before that on, all that they print
    is kept in the job's folder."""

    def __init__(self, job_dir: str, attempt: int) -> None:
        self.job_dir, self.attempt = job_dir, attempt

    @property
    def backend_cls(self) -> type[Backend]:
        return _ProcessGroupBackend


class _ProcessGroupBackend(Backend):  # type: ignore[misc]
    share_cuda_visible_devices = True  # NCCL needs to see the other workers' devices of its node

    def on_start(self, worker_group: Any, backend_config: ProcessGroup) -> None:
        worker_group.execute(_prepare, backend_config.job_dir, backend_config.attempt)
        gpus = worker_group.get_resources_per_worker().get("GPU", 0)
        address, port = worker_group.execute_single(0, _open)
        worker_group.execute(_join, address, port, "nccl" if gpus else "gloo")

    def on_shutdown(self, worker_group: Any, backend_config: BackendConfig) -> None:
        """Nothing to do: the workers are processes and end; leaving a group whose peer has died would only hang."""


_SERVER: list[socket.socket] = []
"""On rank 0: what it listens on until the store takes it over."""


def _prepare(job_dir: str, attempt: int) -> None:
    """On a worker: keep its log, and be ready for a notice."""
    import ray.train

    place = ray.train.get_context()
    log.keep_rank(job_dir, attempt, place.get_world_rank(), place.get_world_size())
    catch_sigterm()


def _open() -> tuple[str, int]:
    """On rank 0: listen, before anyone hears of the port, so that nobody else can take it. Returns address and port."""
    import ray.util

    address: str = ray.util.get_node_ip_address()
    _SERVER[:] = [listen(address)]
    return address, _SERVER[0].getsockname()[1]


def _join(address: str, port: int, backend: str) -> None:
    """On a worker: describe its place in the environment, as torchrun would, and join the group."""
    import ray.train
    import torch
    import torch.distributed as dist

    place = ray.train.get_context()
    os.environ.update(
        MASTER_ADDR=address,
        MASTER_PORT=str(port),
        RANK=str(place.get_world_rank()),
        WORLD_SIZE=str(place.get_world_size()),
        LOCAL_RANK=str(place.get_local_rank()),
        LOCAL_WORLD_SIZE=str(place.get_local_world_size()),
        NODE_RANK=str(place.get_node_rank()),
    )
    if backend == "nccl":
        import ray.train.torch

        device = ray.train.torch.get_device()
        torch.cuda.set_device(device)
        os.environ["ACCELERATE_TORCH_DEVICE"] = str(device)
    rank, world = place.get_world_rank(), place.get_world_size()
    found = store(address, port, rank, world, server=_SERVER.pop() if rank == 0 else None)
    dist.init_process_group(backend, store=found, rank=rank, world_size=world, timeout=COLLECTIVE_TIMEOUT)


def listen(address: str, port: int = 0) -> socket.socket:
    """Rank 0's end of the store, at its node's address alone; torch by itself listens on all interfaces. Port 0: a free one."""
    return socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)


def store(
    address: str,
    port: int,
    rank: int,
    world: int,
    patience: timedelta = COLLECTIVE_TIMEOUT,
    server: socket.socket | None = None,
) -> Store:
    """The key-value store through which the ranks find one another. server: what rank 0 listens on already, if it does."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    listening: int | None = None
    if rank == 0:
        listening = (server or listen(address, port)).detach()
    return TCPStore(
        address, port, world, rank == 0, timeout=patience, wait_for_workers=False, master_listen_fd=listening
    )
