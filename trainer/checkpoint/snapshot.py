"""A copy of the state's tensors on the host, taken in the step path as fast as memory allows."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.errors import NonFiniteError


class Snapshots:
    """Copies tensors into host buffers that are kept, so that only the first snapshot pays for their pages.

    One snapshot at a time: `take` overwrites the one before. On CUDA the buffers are pinned and the copies do not make
    the host wait; they run before the next step's kernels, and `Snapshot.wait` waits for them.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    @torch.no_grad()
    def take(self, tensors: dict[str, Tensor]) -> Snapshot:
        """Copy. The names and shapes may change from one call to the next (optimisers get state with their first step)."""
        buffers = {name: self._buffer(name, tensor) for name, tensor in tensors.items()}
        self._buffers = buffers
        event = None
        for name, tensor in tensors.items():
            buffers[name].copy_(tensor, non_blocking=True)
        if any(tensor.is_cuda for tensor in tensors.values()):
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        return Snapshot(buffers, event)

    def _buffer(self, name: str, tensor: Tensor) -> Tensor:
        known = self._buffers.get(name)
        if known is not None and known.shape == tensor.shape and known.dtype == tensor.dtype:
            return known
        return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)


class Snapshot:
    """The copied tensors: contiguous, on the CPU; complete after `wait`."""

    def __init__(self, tensors: dict[str, Tensor], copied: torch.cuda.Event | None) -> None:
        self.tensors = tensors
        self._copied = copied

    def wait(self) -> None:
        """Wait until the device has delivered; for the writing thread."""
        if self._copied is not None:
            self._copied.synchronize()

    def check_finite(self, since: int, step: int) -> None:
        """Raise NonFiniteError, naming the tensor and the steps, if anything is NaN or infinite."""
        for name, tensor in self.tensors.items():
            # A sum in float64 can't overflow for finite float32 values, and needs no mask of the tensor's size.
            if tensor.is_floating_point() and not bool(tensor.sum(dtype=torch.float64).isfinite()):
                raise NonFiniteError(
                    f"{name} became NaN or infinite between steps {since} and {step}; the state was not saved; "
                    "lower the learning rates and restart from the last checkpoint"
                )
