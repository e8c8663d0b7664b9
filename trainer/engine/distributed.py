"""Processes, devices and precision: the only module that imports Accelerate.

CPU workers talk through gloo, GPU workers through NCCL; one process is the same code without a process group. Data
loaders and optimisers are never handed to Accelerate: it would give an IterableDataset's batches from rank 0 alone,
and our lanes already say which rank gets what.

Buffers (running statistics of batch norm) are not broadcast. A phase may run a net twice before its backward pass, and
overwriting buffers between the passes breaks autograd. Each rank then keeps running statistics of its own rows; no
training step reads them, because training normalises with the batch's own statistics. Rank 0's are the truth: they are
the ones saved, and `sync_buffers` copies them to all ranks before they are read (evaluation).
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from trainer.engine.memory import give_back, keep_freed_memory
from trainer.errors import BadSpecError, ClusterError, TrainingError
from trainer.spec import JobSpec


class Forward(nn.Module):
    """A shell that calls a net. Accelerate's autocast and DDP wrap the shell, so that the net itself stays plain:
    its parameter names, its `forward` and its export are those of the family's code."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *args: Any, **flags: Any) -> Any:
        """The net's own result. Flags reach it through DDP, e.g. `D(images, labels, features=True)`."""
        return self.net(*args, **flags)


class Distributed:
    """This process's place among the workers. Helpers are no-ops with one worker; otherwise all ranks must call them."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self.rank: int = accelerator.process_index
        self.world: int = accelerator.num_processes
        self.device: torch.device = accelerator.device

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which alone writes."""
        return self.rank == 0

    @classmethod
    def create(cls, spec: JobSpec, *, world: int) -> Distributed:
        """Join the process group that the launcher made (or the environment describes) and check it.

        `world` is the number of workers the launcher started. Raises BadSpecError if the spec asks for a GPU that is not there,
        ClusterError if the group is not of `world` processes on the device asked for: on the CPU, Accelerate would
        otherwise train that many independent models and say nothing.
        """
        gpu = spec.resources.gpus_per_worker > 0
        if gpu and not torch.cuda.is_available():
            raise BadSpecError("resources.gpus_per_worker is 1 but this machine has no usable GPU; set it to 0")
        _use_threads(spec, several=world > 1 and not gpu)
        if not gpu:
            keep_freed_memory()
        AcceleratorState._reset_state(reset_partial_state=True)  # a second training in this process may differ
        found = cls(
            Accelerator(
                cpu=not gpu,
                mixed_precision="bf16" if spec.train.precision == "bf16" else "no",
                kwargs_handlers=[
                    DistributedDataParallelKwargs(
                        broadcast_buffers=False,
                        gradient_as_bucket_view=True,
                        # DDP regroups its buckets after the first backward pass. Three or more ranks would then be
                        # summed in another order after a restart; with this flag the grouping never changes.
                        find_unused_parameters=world > 2,
                    )
                ],
            )
        )
        if found.world != world or found.device.type != ("cuda" if gpu else "cpu"):
            raise ClusterError(
                f"the process group has {found.world} processes on {found.device.type}, but the launcher started {world} "
                f"on {'cuda' if gpu else 'cpu'}; check RANK, WORLD_SIZE and MASTER_ADDR"
            )
        return found

    def prepare(self, net: nn.Module) -> nn.Module:
        """The net on the device behind a callable module: autocast if bf16, inside DDP if there are several workers."""
        with warnings.catch_warnings():
            # torch 2.13 prefers a new name for `broadcast_buffers` that Accelerate 1.15 can't pass on.
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
            wrapped: nn.Module = self._accelerator.prepare_model(Forward(net.to(self.device)))
        if self.world > 1 and not isinstance(wrapped, nn.parallel.DistributedDataParallel):
            raise TrainingError(f"{self.world} workers, but Accelerate did not wrap the net for them")
        return wrapped

    def no_sync(self, wrapped: nn.Module) -> AbstractContextManager[None]:
        """Backward passes inside accumulate gradients on this rank without averaging them over the ranks."""
        context: AbstractContextManager[None] = self._accelerator.no_sync(wrapped)
        return context

    def sum(self, tensor: Tensor) -> Tensor:
        """Elementwise sum over the ranks."""
        return tensor if self.world == 1 else self._reduce(tensor, "sum")

    def mean(self, tensor: Tensor) -> Tensor:
        """Elementwise mean over the ranks."""
        return tensor if self.world == 1 else self._reduce(tensor, "mean")

    def any(self, flag: bool) -> bool:
        """Whether any rank says so. Waits for the device; not for the step path."""
        if self.world == 1:
            return flag
        return bool(self._reduce(torch.tensor(float(flag), device=self.device), "sum") > 0)

    def gather(self, tensor: Tensor) -> Tensor:
        """All ranks' tensors (of one shape), concatenated along dimension 0 in rank order, on every rank."""
        if self.world == 1:
            return tensor
        gathered: Tensor = self._accelerator.gather(tensor.contiguous())
        return gathered

    def share(self, text: str) -> str:
        """Rank 0's text on every rank. Waits for the device; not for the step path."""
        if self.world == 1:
            return text
        own = torch.tensor(list(text.encode()), dtype=torch.uint8, device=self.device)
        size = torch.tensor([len(own)], device=self.device)
        dist.broadcast(size, src=0)
        carried = own if self.is_main else torch.empty(int(size), dtype=torch.uint8, device=self.device)
        dist.broadcast(carried, src=0)
        return bytes(carried.cpu().tolist()).decode()

    def forget(self) -> None:
        """Let go of the nets that were prepared, so that another training in this process finds their memory free."""
        self._accelerator.free_memory()
        give_back()

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.world > 1:
            self._accelerator.wait_for_everyone()

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Rank 0 runs the block, then the others do: for work that leaves files which the others then find."""
        if not self.is_main:
            self.barrier()
        try:
            yield
        finally:
            if self.is_main:
                self.barrier()

    @torch.no_grad()
    def sync_buffers(self, net: nn.Module) -> None:
        """Copy rank 0's buffers of `net` to all ranks."""
        if self.world > 1:
            for buffer in net.buffers():
                dist.broadcast(buffer, src=0)

    def assert_same(self, nets: dict[str, nn.Module], when: str) -> None:
        """Raise TrainingError, naming the nets, unless every rank holds the same parameters, bit for bit."""
        if self.world == 1:
            return
        hashes = torch.tensor([_fingerprint(net) for net in nets.values()], dtype=torch.int64, device=self.device)
        table = self.gather(hashes[None]).cpu()
        differing = [name for name, column in zip(nets, table.T, strict=True) if len(set(column.tolist())) > 1]
        if differing:
            raise TrainingError(f"the workers' parameters of {', '.join(differing)} differ {when}; this is a bug")

    def _reduce(self, tensor: Tensor, how: str) -> Tensor:
        reduced: Tensor = self._accelerator.reduce(tensor, reduction=how)
        return reduced


def _fingerprint(net: nn.Module) -> int:
    digest = hashlib.sha256()
    for parameter in net.parameters():
        digest.update(parameter.detach().contiguous().flatten().view(torch.uint8).cpu().numpy().tobytes())
    return int.from_bytes(digest.digest()[:8], "big", signed=True)


def _use_threads(spec: JobSpec, several: bool) -> None:
    """Compute with as many threads as OMP_NUM_THREADS says; with several workers on CPUs, by default with
    `resources.cpus_per_worker`, where Accelerate would guess from the physical cores.

    The variable alone is not enough: torch reads it when it is imported, and a warm process of Ray imported torch before
    Ray wrote it for the worker. Two workers with two threads each then spin against each other on two cores, at half the
    speed; and the number of threads decides how sums are rounded, so it has to be the same after a restart.
    """
    if several:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, int(spec.resources.cpus_per_worker))))
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # OpenMP takes a list, for nested teams
    if wanted.isdecimal() and int(wanted) > 0:
        torch.set_num_threads(int(wanted))
