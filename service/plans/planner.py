"""Plans, and the shapes of nets, made in child processes one at a time; plans are kept by what was asked. This process has no torch.

A plan takes some seconds, most of them imports. So that no request waits long, the caller says how long it waits; a plan that
comes later is kept for whoever asks again.
"""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from typing import Protocol

from trainer.origin.child import parts_in_child
from trainer.origin.fit import Part
from trainer.plan.child import plan_in_child
from trainer.plan.devices import Device
from trainer.plan.result import Plan
from trainer.spec import JobSpec

KEPT = 256
"""Plans that are remembered."""
MOST_WAITING = 32
"""Plans that may wait to be made."""
Key = tuple[str, int, str, int]


class PlannerBusyError(Exception):
    """Too many plans wait to be made."""


class Make(Protocol):
    """What makes a plan: `trainer.plan.child.plan_in_child`, or a test's double."""

    def __call__(
        self,
        spec: JobSpec,
        *,
        world: int,
        device: Device,
        seconds: float,
        started: Callable[[subprocess.Popen[str]], object],
    ) -> Plan:
        """See there."""
        ...


class Shape(Protocol):
    """What tells the parts of nets: `trainer.origin.child.parts_in_child`, or a test's double."""

    def __call__(
        self, spec: JobSpec, *, seconds: float, started: Callable[[subprocess.Popen[str]], object]
    ) -> Mapping[str, Part]:
        """See there."""
        ...


class Planner:
    """One per application. seconds: limit of one plan. Children run this process's interpreter, which may have no torch."""

    def __init__(self, seconds: float, make: Make = plan_in_child, shape: Shape = parts_in_child) -> None:
        self._seconds, self._make, self._shape, self._others = seconds, make, shape, 0
        self.able = make is not plan_in_child or _torch_is_here()
        """Whether plans can be made here."""
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="plan")
        self._lock = threading.Lock()
        self._asked: OrderedDict[Key, Future[Plan]] = OrderedDict()
        self._here: dict[tuple[str, int], Key] = {}
        """Of those that were asked for the cluster's own device, by digest and workers."""
        self._child: subprocess.Popen[str] | None = None
        self._closed = False

    async def plan(self, spec: JobSpec, world: int, device: Device, wait: float, *, here: bool = False) -> Plan:
        """The plan, made now or before. here: the device is the cluster's own, on which it would run.

        Raises TimeoutError if it isn't ready within `wait` seconds (it is made all the same, for whoever asks again),
        PlannerBusyError, SpecError, PlanFailedError.
        """
        asked = asyncio.wrap_future(self._ask(spec, world, device, here))
        try:
            return await asyncio.wait_for(asyncio.shield(asked), wait)
        except TimeoutError:
            if asked.done() and not asked.cancelled() and asked.exception() is not None:
                raise  # the child's own time was over
            raise TimeoutError(f"the plan is not ready after {wait:g} s; ask again") from None

    async def parts(self, spec: JobSpec, wait: float) -> Mapping[str, Part]:
        """The parts of the spec's nets, from a child that takes its turn among the plans; nothing is kept.

        Raises TimeoutError if they aren't known within `wait` seconds, PlannerBusyError, SpecError, ShapesFailedError.
        """
        with self._lock:
            if self._others >= MOST_WAITING:
                raise PlannerBusyError(f"{MOST_WAITING} forks are being looked at; ask again")
            self._others += 1
        asked = self._pool.submit(self._shape, spec, seconds=self._seconds, started=self._began)
        asked.add_done_callback(self._shaped)
        return await asyncio.wait_for(asyncio.wrap_future(asked), wait)  # one that nobody waits for isn't begun

    def _shaped(self, _: Future[Mapping[str, Part]]) -> None:
        with self._lock:
            self._others -= 1

    def close(self) -> None:
        """End the child; what still waits fails."""
        with self._lock:
            self._closed = True
            child = self._child
        if child is not None and child.poll() is None:
            child.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def known(self, spec: JobSpec) -> Plan | None:
        """The plan that was made of the spec as it is, for the cluster's own device; None if there is none yet."""
        with self._lock:
            key = self._here.get((spec.digest(), spec.resources.workers))
            made = self._asked.get(key) if key else None
        done = made is not None and made.done() and not made.cancelled() and made.exception() is None
        return made.result() if done and made is not None else None

    def _ask(self, spec: JobSpec, world: int, device: Device, here: bool) -> Future[Plan]:
        key = (spec.digest(), world, device.name, device.memory)
        with self._lock:
            if here:
                self._here[key[:2]] = key
            found = self._asked.get(key)
            if found is None or (found.done() and (found.cancelled() or _passing(found.exception()))):
                if sum(not plan.done() for plan in self._asked.values()) >= MOST_WAITING:
                    raise PlannerBusyError(f"{MOST_WAITING} plans are being made; ask again")
                found = self._asked[key] = self._pool.submit(self._run, spec, world, device)
            self._asked.move_to_end(key)
            while len(self._asked) > KEPT:
                gone, _ = self._asked.popitem(last=False)
                if self._here.get(gone[:2]) == gone:
                    del self._here[gone[:2]]
        return found

    def _run(self, spec: JobSpec, world: int, device: Device) -> Plan:
        return self._make(spec, world=world, device=device, seconds=self._seconds, started=self._began)

    def _began(self, child: subprocess.Popen[str]) -> None:
        with self._lock:
            self._child = child
            closed = self._closed
        if closed:
            child.kill()


def _torch_is_here() -> bool:
    """Asks without importing it."""
    try:
        return find_spec("torch") is not None
    except ImportError:
        return False


def _passing(error: BaseException | None) -> bool:
    """Whether asking again may end better: the machine was busy, the child was killed. A wrong spec stays wrong."""
    return error is not None and not isinstance(error, ValueError)
