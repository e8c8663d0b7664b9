"""One start in progress: spawn side by side, wait until each is ready, try again what fails, or take it all back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from service.stack import record as records
from service.stack.errors import PartFailed
from service.stack.parts import GRACE, STOP_ORDER, Config, Part, build
from service.stack.processes import kill_members, spawn, stop
from service.stack.record import PartRecord, StackRecord

PATIENCE_SECONDS = 600.0
"""For each part, from its last start. A machine whose cores have other work takes minutes for what usually takes seconds."""
TRIES = 3
"""Starts of a part that ends before it is ready: raylet gives its agent 15 s, whatever the machine has to do."""
TELL_SECONDS = 15.0
"""Between two words on what is still waited for."""
SHORT_PAUSE = 0.15

Report = Callable[[str, str, float], None]
"""Called with (part, "starting" | "ready" | "stopping" | "stopped" | what is waited for or tried again, seconds)."""


def silent(part: str, state: str, seconds: float) -> None:
    """A report to nobody."""


@dataclass
class _Running:
    """A part that has been started."""

    part: Part
    process: psutil.Popen
    tries: int
    since: float
    told: float


@dataclass
class Start:
    """One start in progress."""

    config: Config
    record: StackRecord
    missing: tuple[str, ...]
    """The parts that this start is to start."""
    report: Report
    spawned: dict[str, _Running] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Part → what became of it, once it is given up."""
    begun: float = field(default_factory=time.monotonic)

    def spawn(self, name: str, tries: int = 1) -> None:
        """Start one part and write it down."""
        part = build(name, self.config, self.record.stack_id)
        log = self.config.layout.logs / f"{name}.log"
        if log.exists() and tries == 1:
            log.replace(log.with_suffix(".log.1"))  # why it ended last time
        process = spawn(part.command, part.env, log, self.config.layout.home)
        now = time.monotonic()
        self.spawned[name] = _Running(part, process, tries, now, now)
        entry = PartRecord(pid=process.pid, create_time=process.create_time(), url=part.url, log=str(log))
        self.record = self.record.model_copy(update={"parts": self.record.parts | {name: entry}})
        records.write(self.config.layout.record, self.record)
        if tries == 1:
            self.report(name, "starting", 0.0)

    def wait(self) -> None:
        """Until each is ready, or given up. Raises PartFailed for the first that was given up; the ready ones stay."""
        waiting = set(self.spawned)
        while waiting:
            for name in sorted(waiting):
                if self._settled(name):
                    waiting.discard(name)
            time.sleep(SHORT_PAUSE)
        if self.failed:
            self.drop(tuple(self.failed))
            name, what = next(iter(self.failed.items()))
            title = self.spawned[name].part.title
            log = self.config.layout.logs / f"{name}.log"
            raise PartFailed(title, what, log, [part for part in self.record.parts if part not in self.failed])

    def _settled(self, name: str) -> bool:
        """Look at one part once: whether it is ready, or given up."""
        running, now = self.spawned[name], time.monotonic()
        if running.process.poll() is not None:
            what = f"ended with status {running.process.returncode} while starting"
            if running.tries >= TRIES:
                self.failed[name] = what + (f", {TRIES} times" if TRIES > 1 else "")
                return True
            self.report(name, f"{what}; starting it again ({running.tries + 1} of {TRIES}){_load()}", now - self.begun)
            kill_members(self.record.stack_id, name)  # what it left behind holds its ports
            self.spawn(name, running.tries + 1)
        elif running.part.ready():
            self.report(name, "ready", now - self.begun)
            if running.part.then:
                log = self.config.layout.logs / f"{name}-then.log"
                spawn(running.part.then, running.part.env, log, self.config.layout.home)
            return True
        elif now - running.since > PATIENCE_SECONDS:
            self.failed[name] = f"was not ready after {PATIENCE_SECONDS:.0f} s{_load()}"
            return True
        elif now - running.told > TELL_SECONDS:
            running.told = now
            self.report(name, f"waiting for {running.part.probes[0]} to answer{_load()}", now - self.begun)
        return False

    def drop(self, names: tuple[str, ...]) -> None:
        """Stop these parts of this start; the others stay."""
        for name in (name for name in STOP_ORDER if name in names):
            stop(self.spawned[name].process, GRACE[name])
            kill_members(self.record.stack_id, name)
        parts = {name: part for name, part in self.record.parts.items() if name not in names}
        self.record = self.record.model_copy(update={"parts": parts})
        if parts:
            records.write(self.config.layout.record, self.record)
        else:
            kill_members(self.record.stack_id)
            self.config.layout.record.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Stop what this start has started; parts that ran before it stay."""
        for name in self.missing:
            if name not in self.spawned:
                kill_members(self.record.stack_id, name)
        self.drop(tuple(self.spawned))


def _load() -> str:
    """Why it may take so long: more programs want the cores than there are."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    return f" (this machine is busy: load {load:.0f} on {cores} cores)" if load > 2 * cores else ""
