"""Writes down what a computation does: each operation's cost, the memory that is live, what is sent to other workers.

It sees the operations below autograd, so the backward pass and double backward are there too. On fake tensors
(`torch._subclasses.FakeTensorMode`) nothing is computed or allocated, yet sizes and lifetimes are the real ones.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainer.plan.costs import Cost, cost, host_workspace
from trainer.plan.replay import Call, signature

ACTIVATIONS, GRADIENTS = "activations", "gradients"


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records while it is entered.

    costs: section → operation → how often. calls: of each distinct operation one call, if asked for.
    sent: section → bytes that this worker gave to collectives, and calls. live, peak: bytes by part now, and at the moment
    at which their sum was largest. Tensors are of the part `hold` says;
    what is made while recording is of part "activations" until `hold` says otherwise.
    """

    def __init__(self, *, keep_calls: bool = False, host: bool = False) -> None:
        """host: on a CPU, where some operations take memory in passing."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: dict[str, Call] = {}
        self._keep, self._host = keep_calls, host
        self.costs: dict[str, Counter[Cost]] = {}
        self.sent: dict[str, Counter[str]] = {}
        self.live: Counter[str] = Counter()
        self.peak: dict[str, int] = {}
        self._most = 0
        self._section = ""
        self._storages: dict[int, tuple[str, int]] = {}

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Inside, operations are counted under that name."""
        before, self._section = self._section, name
        try:
            yield
        finally:
            self._section = before

    def hold(self, part: str, tensors: Iterable[Tensor]) -> None:
        """These tensors' memory is of that part, for as long as it lives."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in self._storages:
                was, size = self._storages[key]
                self.live[was] -= size
                self.live[part] += size
                self._storages[key] = part, size
            else:
                self._add(key, storage, part)
        self._note()

    def reserve(self, part: str, size: int) -> None:
        """Count so many bytes that no tensor here stands for."""
        self.live[part] += size
        self._note()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator and write it down."""
        kwargs = kwargs or {}
        call = Call.of(func, args, kwargs) if self._keep else None  # before it changes the shape of what it is given
        result = func(*args, **kwargs)
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self._allocated(outputs)
        if self._host and (size := host_workspace(func, args, outputs)):
            self._pass(size)
        if func.namespace == "c10d":
            self._send(inputs)
        elif _works(func, inputs):
            self._count(call, cost(func, args, kwargs, inputs, outputs))
        return result

    def _count(self, call: Call | None, found: Cost) -> None:
        if call is not None:
            found = replace(found, call=signature(call))
            self.calls.setdefault(found.call, call)
        self.costs.setdefault(self._section, Counter())[found] += 1

    def _pass(self, size: int) -> None:
        """Count bytes that live as long as one operation."""
        self.live[ACTIVATIONS] += size
        self._note()
        self.live[ACTIVATIONS] -= size

    def _allocated(self, outputs: list[Tensor]) -> None:
        grown = False
        for tensor in outputs:
            storage = tensor.untyped_storage()
            if storage._cdata not in self._storages:
                self._add(storage._cdata, storage, ACTIVATIONS)
                grown = True
        if grown:
            self._note()

    def _add(self, key: int, storage: torch.UntypedStorage, part: str) -> None:
        size = storage.nbytes()
        self._storages[key] = part, size
        self.live[part] += size
        # The Python object of a storage lives exactly as long as the memory it stands for.
        weakref.finalize(storage, self._free, key).atexit = False

    def _free(self, key: int) -> None:
        part, size = self._storages.pop(key)
        self.live[part] -= size

    def _note(self) -> None:
        if (total := sum(self.live.values())) > self._most:
            self._most, self.peak = total, dict(self.live)

    def _send(self, tensors: list[Tensor]) -> None:
        sent = self.sent.setdefault(self._section, Counter())
        sent["bytes"] += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        sent["calls"] += 1


def _works(func: Any, inputs: list[Tensor]) -> bool:
    """Whether the operator reads or writes tensors; views and bare allocations don't."""
    return bool(inputs) and not func.is_view and func._overloadpacket not in IDLE and func.namespace == "aten"


IDLE = {torch.ops.aten.empty, torch.ops.aten.empty_like, torch.ops.aten.empty_strided, torch.ops.aten.new_empty}
