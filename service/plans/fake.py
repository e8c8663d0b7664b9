"""A maker of plans that has no torch and no child: answers at once, or as a test tells it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from trainer.plan.devices import Device
from trainer.plan.result import MemoryPlan, PhasePlan, Plan, PlayerPlan, TimePlan, TrafficPlan, Verdict
from trainer.spec import JobSpec


@dataclass
class FakeMake:
    """In place of `trainer.plan.child.plan_in_child`. `gate`: cleared, a plan waits until it is set."""

    fits: bool = True
    best: int = 128
    error: Exception | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[int, Device]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    def __call__(self, spec: JobSpec, *, world: int, device: Device, **_: Any) -> Plan:
        """A plan of one phase, with round numbers."""
        self.asked.append((world, device))
        self.gate.wait()
        if self.error is not None:
            raise self.error
        batch, micro = spec.train.batch, {"D": self.best, "G": self.best}
        return Plan(
            name=spec.name, family=spec.arch.family, spec_digest=spec.digest(), device=device.name, title=device.title,
            workers=world, batch=batch, local_batch=batch // world,
            players={"G": PlayerPlan(parameters=1, micro_batch=batch, accumulation=1)},
            phases={
                "G": PhasePlan(
                    players=("G",), updates_per_step=1.0, flops=1.0, memory=1, seconds=1.0, largest_micro_batch=self.best
                )
            },
            flops_per_step=1.0,
            memory=MemoryPlan(phase="G", parts={"weights": 1}, total=1, capacity=device.memory, usable=device.usable),
            traffic=TrafficPlan(gradients=0.0, statistics=0.0, calls=0.0),
            time=TimePlan(
                step=1.0, computation=1.0, communication=0.0, images_per_second=1.0, steps=1, hours=1.0,
                device_hours=1.0, calibrated=False,
            ),
            verdict=Verdict(
                fits=self.fits, micro_batch=micro, accumulation=micro,
                need="1.0 GiB of 2.0 GiB" if self.fits else "9.0 GiB of 1.0 GiB", advice="largest train.micro_batch 128",
            ),
        )  # fmt: skip
