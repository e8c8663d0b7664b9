"""One start in progress: spawn side by side, wait until each is ready, or take it all back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from service.stack import record as records
from service.stack.errors import PartFailed
from service.stack.parts import GRACE, STOP_ORDER, Config, Part, build
from service.stack.processes import kill_members, spawn, stop
from service.stack.record import PartRecord, StackRecord

READY_SECONDS = 150.0

Report = Callable[[str, str, float], None]
"""Called with (part, "starting" | "ready" | "stopping" | "stopped", seconds)."""


def silent(part: str, state: str, seconds: float) -> None:
    """A report to nobody."""


@dataclass
class Start:
    """One start in progress."""

    config: Config
    record: StackRecord
    missing: tuple[str, ...]
    """The parts that this start is to start."""
    report: Report
    spawned: dict[str, tuple[Part, psutil.Popen]] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)

    def spawn(self, name: str) -> None:
        """Start one part and write it down."""
        part = build(name, self.config, self.record.stack_id)
        log = self.config.layout.logs / f"{name}.log"
        if log.exists():
            log.replace(log.with_suffix(".log.1"))  # why it ended last time
        process = spawn(part.command, part.env, log, self.config.layout.home)
        self.spawned[name] = (part, process)
        entry = PartRecord(pid=process.pid, create_time=process.create_time(), url=part.url, log=str(log))
        self.record = self.record.model_copy(update={"parts": self.record.parts | {name: entry}})
        records.write(self.config.layout.record, self.record)
        self.report(name, "starting", 0.0)

    def wait(self) -> None:
        """Until all are ready. Raises PartFailed."""
        waiting = dict(self.spawned)
        while waiting:
            for name, (part, process) in list(waiting.items()):
                seconds, log = time.monotonic() - self.begun, self.config.layout.logs / f"{name}.log"
                if process.poll() is not None:
                    raise PartFailed(part.title, f"ended with status {process.returncode} while starting", log)
                if part.ready():
                    del waiting[name]
                    self.report(name, "ready", seconds)
                    if part.then:
                        spawn(part.then, part.env, log.with_name(f"{name}-then.log"), self.config.layout.home)
                elif seconds > READY_SECONDS:
                    raise PartFailed(part.title, f"was not ready after {READY_SECONDS:.0f} s", log)
            time.sleep(0.15)

    def abandon(self, keep: bool) -> None:
        """Stop what this start has started; `keep` leaves the parts that ran before it."""
        for name in (name for name in STOP_ORDER if name in self.spawned):
            stop(self.spawned[name][1], GRACE[name])
        if not keep:
            kill_members(self.record.stack_id)
            self.config.layout.record.unlink(missing_ok=True)
            return
        for name in self.missing:
            kill_members(self.record.stack_id, name)
        parts = {name: part for name, part in self.record.parts.items() if name not in self.missing}
        records.write(self.config.layout.record, self.record.model_copy(update={"parts": parts}))
