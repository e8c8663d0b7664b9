"""A plan from a spec: `plan(spec, world=8, device=find("h100"))`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from trainer.objective.phases import Phase
from trainer.plan.costs import Cost
from trainer.plan.devices import FRAGMENTED, RUNTIME, Device, cpu, placed
from trainer.plan.fit import largest
from trainer.plan.replay import Operations
from trainer.plan.result import MemoryPlan, PhasePlan, Plan, PlayerPlan, TimePlan, TrafficPlan, Verdict
from trainer.plan.roofline import COMPUTE_SHARE, MEMORY_SHARE, Measured, Rates, Table, all_reduce, total
from trainer.plan.schedule import Kind, Schedule, schedule
from trainer.plan.study import BACKWARD, FORWARD, UPDATE, Study, Update, studied
from trainer.plan.words import amount
from trainer.spec import JobSpec

PARTS = ("weights", "gradients", "optimizer", "ema", "buckets", "batch", "activations")


def plan(spec: JobSpec, *, world: int, device: Device, rates: Rates | None = None) -> Plan:
    """What the job costs on `world` workers with one such device each. Nothing of the model is allocated.

    rates: measured ones for the device; by default its data sheet's. Raises ValidationError (see `devices.placed`).
    """
    spec = placed(spec, world, device)
    rates = rates or Table(device)
    with studied(spec, world, keep_calls=isinstance(rates, Measured), host=device.kind == "cpu") as study:
        return Planner(spec, study, device, rates).plan()


def operations(spec: JobSpec, *, world: int) -> Operations:
    """Each distinct operation of the job's step on a CPU worker. Raises as `plan`."""
    spec = placed(spec, world, cpu())
    with studied(spec, world, keep_calls=True, host=True) as study:
        found = Planner(spec, study, cpu(), Table(cpu())).plan()
        return Operations(dict(study.calls), found.memory.total - found.memory.parts["runtime"])


class Planner:
    """Puts a plan together from a study."""

    def __init__(self, spec: JobSpec, study: Study, device: Device, rates: Rates) -> None:
        self.spec, self.study, self.device, self.rates = spec, study, device, rates
        self.schedule: Schedule = schedule(spec, study.phases)
        self.phases: dict[str, Phase] = {phase.name: phase for phase in study.phases}

    def update(self, kind: Kind, micro: int) -> Update:
        """One update of that kind."""
        return self.study.update(self.phases[kind.phase], kind.step, micro)

    def plan(self) -> Plan:
        """All of it."""
        spec, study = self.spec, self.study
        phases = {name: self._phase(name) for name in self.phases}
        verdict = self._verdict(phases)
        time = self._time(phases)
        return Plan(
            name=spec.name,
            family=spec.arch.family,
            spec_digest=spec.digest(),
            device=self.device.name,
            title=self.device.title,
            workers=study.world,
            batch=spec.train.batch,
            local_batch=study.local,
            players={name: self._player(name, size) for name, size in study.parameters().items()},
            phases=phases,
            flops_per_step=study.world * sum(phase.flops * phase.updates_per_step for phase in phases.values()),
            memory=self._memory(),
            traffic=self._traffic(),
            time=time,
            verdict=verdict,
            assumptions=assumptions(self.device, self.rates, study.world),
        )

    def micro(self, phase: str) -> int:
        """Images of one pass of the phase on one worker, as the engine cuts its share."""
        return min(self.spec.train.micro(self.phases[phase].players) or self.study.local, self.study.local)

    def kinds(self, phase: str) -> dict[Kind, float]:
        """The phase's kinds of updates and their shares."""
        found = {kind: n for kind, n in self.schedule.updates.items() if kind.phase == phase}
        return {kind: n / sum(found.values()) for kind, n in found.items()}

    def mean(self, phase: str, value: Callable[[Update], float]) -> float:
        """Over the phase's kinds of updates."""
        micro = self.micro(phase)
        return sum(share * value(self.update(kind, micro)) for kind, share in self.kinds(phase).items())

    def bytes_at(self, phase: str, micro: int) -> int:
        """Memory of the phase's fullest kind of update."""
        return max((self.update(kind, micro).bytes for kind in self.kinds(phase)), default=0)

    def passes(self, phase: str) -> int:
        """Micro-batches of one update."""
        return self.study.local // self.micro(phase)

    def _player(self, name: str, parameters: int) -> PlayerPlan:
        phase = next(phase.name for phase in self.phases.values() if name in phase.players)
        return PlayerPlan(parameters=parameters, micro_batch=self.micro(phase), accumulation=self.passes(phase))

    def _phase(self, name: str) -> PhasePlan:
        passes = self.passes(name)
        updates = sum(n for kind, n in self.schedule.updates.items() if kind.phase == name) / self.schedule.steps

        def seconds(update: Update) -> float:
            once = total(update.costs, self.rates, (UPDATE,))
            return passes * total(update.costs, self.rates, (FORWARD, BACKWARD)) + once

        fitting = None
        if self.device.memory:
            fitting = largest(self.study.local, self.device.usable, lambda m: self.bytes_at(name, m), self.micro(name))
        return PhasePlan(
            players=self.phases[name].players,
            updates_per_step=updates,
            flops=self.mean(name, lambda u: passes * flops(u, FORWARD, BACKWARD) + flops(u, UPDATE)),
            memory=self.bytes_at(name, self.micro(name)),
            seconds=self.mean(name, seconds),
            largest_micro_batch=fitting,
        )

    def _memory(self) -> MemoryPlan:
        updates = {
            (name, kind): self.update(kind, self.micro(name)) for name in self.phases for kind in self.kinds(name)
        }
        (phase, _), fullest = max(updates.items(), key=lambda item: item[1].bytes)
        runtime = RUNTIME[self.device.kind]
        return MemoryPlan(
            phase=phase,
            parts={**{part: fullest.peak.get(part, 0) for part in PARTS}, "runtime": runtime},
            total=fullest.bytes + runtime,
            capacity=self.device.memory or None,
            usable=self.device.usable if self.device.memory else None,
        )

    def _traffic(self) -> TrafficPlan:
        gradients = statistics = calls = 0.0
        if self.study.world > 1:
            for name, phase in self.phases.items():
                updates = self._updates(name)
                gradients += updates * self.study.bytes_of(*phase.players)
                statistics += updates * self.passes(name) * self.mean(name, lambda u: sent(u, "bytes"))
                calls += updates * self.passes(name) * self.mean(name, lambda u: sent(u, "calls"))
        return TrafficPlan(gradients=gradients, statistics=statistics, calls=calls)

    def _time(self, phases: Mapping[str, PhasePlan]) -> TimePlan:
        computation = sum(phase.seconds * phase.updates_per_step for phase in phases.values()) + self._averaging()
        communication = sum(self._updates(name) * self._exposed(name) for name in phases)
        step = computation + communication
        hours = step * self.schedule.steps / 3600
        return TimePlan(
            step=step,
            computation=computation,
            communication=communication,
            images_per_second=self.schedule.batches / self.schedule.steps * self.spec.train.batch / step,
            steps=self.schedule.steps,
            hours=hours,
            device_hours=hours * self.study.world,
            calibrated=self.rates.calibrated,
        )

    def _exposed(self, phase: str) -> float:
        """Seconds of an update's communication that its last backward pass doesn't hide."""
        world = self.study.world
        if world == 1:
            return 0.0
        reduce = all_reduce(self.device, world, self.study.bytes_of(*self.phases[phase].players))
        hidden = self.mean(phase, lambda u: total(u.costs, self.rates, (BACKWARD,)))
        norms = self.mean(phase, lambda u: all_reduce(self.device, world, sent(u, "bytes"), sent(u, "calls")))
        return max(0.0, reduce - hidden) + self.passes(phase) * norms

    def _averaging(self) -> float:
        """Seconds of the moving average's update: reads two copies, writes one."""
        size = self.study.averaged()
        return self.rates.seconds(Cost("other", 0, 3 * size, "float32"), UPDATE) if size else 0.0

    def _updates(self, phase: str) -> float:
        return sum(n for kind, n in self.schedule.updates.items() if kind.phase == phase) / self.schedule.steps

    def _verdict(self, phases: Mapping[str, PhasePlan]) -> Verdict:
        need, usable = max(phase.memory for phase in phases.values()), self.device.usable
        if not self.device.memory:
            memory = f"{amount(need)} of memory a worker"
            return Verdict(fits=None, micro_batch=None, accumulation=None, need=memory, advice="")
        share = f"{amount(need)} of {amount(usable)}"
        best: dict[str, int] = {}
        for phase in phases.values():
            if phase.largest_micro_batch is None:
                share += ", and not even one image at a time does"
                return Verdict(fits=False, micro_batch=None, accumulation=None, need=share, advice=HOPELESS)
            who = "D" if "D" in phase.players else "G"  # as `train.micro_batch` names them
            best[who] = min(best.get(who, phase.largest_micro_batch), phase.largest_micro_batch)
        passes = {who: self.study.local // micro for who, micro in best.items()}
        return Verdict(
            fits=need <= usable, micro_batch=best, accumulation=passes, need=share, advice=advice(best, passes)
        )


HOPELESS = "use narrower nets, a smaller resolution or a device with more memory"


def advice(best: Mapping[str, int], passes: Mapping[str, int]) -> str:
    """`largest train.micro_batch 64 (4 passes an update)`."""
    least = min(best.values())
    if len(set(best.values())) == 1:
        count = next(iter(passes.values()))
        return f"largest train.micro_batch {least} ({count} pass{'es' if count > 1 else ''} an update)"
    each = ", ".join(f"{who}: {micro}" for who, micro in best.items())
    counts = ", ".join(f"{who} {passes[who]}" for who in best)
    return f"largest train.micro_batch {{{each}}} (passes an update: {counts}), or {least} for both"


def flops(update: Update, *sections: str) -> int:
    """Of these sections."""
    return sum(cost.flops * n for name in sections for cost, n in update.costs.get(name, Counter()).items())


def sent(update: Update, what: str) -> int:
    """Bytes or calls of the nets' collectives in one micro-batch."""
    return sum(counter[what] for counter in update.sent.values())


def assumptions(device: Device, rates: Rates, world: int) -> tuple[str, ...]:
    """What the estimates of time and of the runtime's memory rest on, in words."""
    found = [f"runtime: {amount(RUNTIME[device.kind])} a worker that no tensor explains"]
    if device.kind == "cuda":
        found.append(f"the GPU's allocator loses {FRAGMENTED:.0%} of the memory to fragments")
        shares = ", ".join(f"{share:.0%} of {kind}" for kind, share in COMPUTE_SHARE.items())
        found.append(f"convolutions and products reach {shares}; other operations {MEMORY_SHARE:.0%} of the bandwidth")
    elif not rates.calibrated:
        found.append("the CPU's rates are a modest core's; `agon plan --calibrate` measures this machine's")
    if world > 1:
        found.append("gradients are reduced behind the update's last backward pass; batch statistics are not hidden")
    found.append("data, sample grids, evaluations and checkpoints cost nothing")
    return tuple(found)
