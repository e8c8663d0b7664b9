"""The embedded stack: starts, watches and stops Ray, MLflow and the API on this machine. State lies under AGON_HOME.

>>> up(Config(Layout(home)))          # no-op if it runs already; starts only what is missing
>>> status(Layout(home))
>>> down(Layout(home))

Errors: `service.stack.errors`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import psutil

from service.stack import record as records
from service.stack.errors import PartFailed, PortsBusy, StackLocked
from service.stack.layout import Layout
from service.stack.parts import GRACE, PORTS_OF, START_ORDER, STOP_ORDER, Config, build
from service.stack.ports import busy, shared
from service.stack.processes import find, interrupts_held, kill_members, on_ending_signals, stop
from service.stack.record import PartRecord, StackRecord
from service.stack.starting import Report, Start, silent


@dataclass(frozen=True)
class PartStatus:
    """One part as `agon status` shows it. `state`: running, unresponsive (alive but does not answer), stopped."""

    name: str
    state: str
    url: str
    pid: int | None
    log: str
    memory: int = 0
    """Resident bytes of the part and all processes below it."""


@dataclass(frozen=True)
class StackStatus:
    """The whole stack."""

    home: Path
    started_at: datetime | None
    parts: tuple[PartStatus, ...]

    @property
    def running(self) -> bool:
        """Whether every part runs and answers."""
        return all(part.state == "running" for part in self.parts)


@dataclass(frozen=True)
class Started:
    """What `up` did."""

    record: StackRecord
    started: tuple[str, ...]
    """The parts it started; none if all ran already."""
    seconds: float = 0.0
    cleaned: int = 0
    """Processes left by a start that ended without `down`, now killed."""


def up(config: Config, report: Report = silent, *, forget_roots: bool = False) -> Started:
    """Start what does not run yet, side by side, and wait until it answers.

    Parts that run keep running, and what a running stack was started with is kept whatever `config` says, but for data
    roots: those of earlier starts are remembered (unless `forget_roots`, of a stack that is down), new ones are added, and
    the API, which alone knows them, starts anew.

    Raises PortsBusy, HomeUnusable (before anything is started), PartFailed (the parts that are ready stay up), StackLocked.
    An interrupt stops what this call started.
    """
    config.layout.create()
    begun = time.monotonic()
    with _locked(config.layout):
        earlier, cleaned = _survivor(config.layout)
        alive = {name: part for name, part in earlier.parts.items() if part.alive} if earlier else {}
        roots = _roots(config, earlier, forget_roots)
        if earlier and set(roots) - set(earlier.data_roots) and "api" in alive:
            _stop(alive.pop("api"), "api", report)
        missing = tuple(name for name in START_ORDER if name not in alive)
        if earlier and not missing:
            return Started(earlier, ())
        if earlier:
            cleaned += sum(kill_members(earlier.stack_id, name) for name in missing)  # orphans may hold ports
            config = earlier.config(config.layout)
        config = replace(config, ports=config.ports.resolved(), data_roots=roots)
        _refuse_busy(config, missing)
        records.write_roots(config.layout.data_roots, roots)
        start = Start(config, _new_record(config, earlier, alive), missing, report)
        try:
            _drop_old_ray_sessions(config.layout, missing)
            for name in missing:
                start.spawn(name)
            start.wait()
        except PartFailed:
            raise
        except BaseException:
            with interrupts_held():
                start.abandon()
            raise
        return Started(start.record, missing, time.monotonic() - begun, cleaned)


def down(layout: Layout, report: Report = silent) -> int:
    """Stop everything, API first; how many parts were running. Safe to call at any time, also after a crash."""
    if not layout.home.is_dir():
        return 0
    with _locked(layout), interrupts_held():
        found = records.read(layout.record)
        if found is None:
            return 0
        running = 0
        for name in STOP_ORDER:
            entry = found.parts.get(name)
            running += entry is not None and _stop(entry, name, report)
        kill_members(found.stack_id)
        layout.record.unlink(missing_ok=True)
        return running


def _stop(entry: PartRecord, name: str, report: Report) -> bool:
    """Stop one part; whether it ran."""
    process = find(entry.pid, entry.create_time)
    if process is None:
        return False
    begun = time.monotonic()
    report(name, "stopping", 0.0)
    stop(process, GRACE[name])
    report(name, "stopped", time.monotonic() - begun)
    return True


def _roots(config: Config, earlier: StackRecord | None, forget: bool) -> tuple[str, ...]:
    """The data roots asked for, behind those of earlier starts."""
    known = () if forget and earlier is None else records.read_roots(config.layout.data_roots)
    known += earlier.data_roots if earlier else ()
    return tuple(dict.fromkeys((*known, *config.data_roots)))


def status(layout: Layout) -> StackStatus:
    """What runs. Asks every part whether it answers (at most 2 s each)."""
    found = records.read(layout.record)
    if found is None:
        return StackStatus(layout.home, None, tuple(PartStatus(name, "stopped", "", None, "") for name in START_ORDER))
    config = found.config(layout)
    parts = []
    for name in START_ORDER:
        entry = found.parts.get(name)
        process = find(entry.pid, entry.create_time) if entry else None
        if entry is None or process is None:
            parts.append(PartStatus(name, "stopped", "", None, entry.log if entry else ""))
            continue
        state = "running" if build(name, config, found.stack_id).answers() else "unresponsive"
        parts.append(PartStatus(name, state, entry.url, entry.pid, entry.log, _memory(process)))
    return StackStatus(layout.home, found.started_at, tuple(parts))


def supervise(layout: Layout, stop_asked: Event) -> str | None:
    """Block until `stop_asked` is set (None), or a part has ended or `down` was called (what happened)."""
    while not stop_asked.wait(0.5):
        found = records.read(layout.record)
        if found is None:
            return "the stack was stopped by another command"
        for name, part in found.parts.items():
            if not part.alive:
                return f"{name} ended"
    return None


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Event]:
    """An event that SIGTERM, SIGINT and SIGHUP set, instead of ending the process."""
    asked = Event()
    with on_ending_signals(lambda *_: asked.set()):
        yield asked


@contextlib.contextmanager
def _locked(layout: Layout) -> Iterator[None]:
    """Only one command at a time starts or stops a stack. The kernel drops the lock with its holder."""
    with layout.lock.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackLocked(
                f"another command is starting or stopping the stack in {layout.home}; wait for it"
            ) from None
        os.set_inheritable(handle.fileno(), False)
        yield


def _survivor(layout: Layout) -> tuple[StackRecord | None, int]:
    """The record of a stack of which something runs; what is left of a dead one is killed (and counted)."""
    found = records.read(layout.record)
    if found is None or any(part.alive for part in found.parts.values()):
        return found, 0
    cleaned = kill_members(found.stack_id)
    layout.record.unlink(missing_ok=True)
    return None, cleaned


def _refuse_busy(config: Config, missing: tuple[str, ...]) -> None:
    if taken := shared(config.ports):
        raise PortsBusy(taken)
    taken = busy(config.ports, [port for name in missing for port in PORTS_OF[name] if name != "api"])
    taken += busy(config.ports, PORTS_OF["api"], config.host) if "api" in missing else []
    if taken:
        raise PortsBusy(taken)


def _new_record(config: Config, earlier: StackRecord | None, alive: dict[str, PartRecord]) -> StackRecord:
    return StackRecord(
        stack_id=earlier.stack_id if earlier else uuid.uuid4().hex,
        started_at=earlier.started_at if earlier else datetime.now(UTC),
        host=config.host,
        ports=asdict(config.ports),
        cpus=config.cpus,
        data_roots=config.data_roots,
        parts=alive,
    )


def _drop_old_ray_sessions(layout: Layout, missing: tuple[str, ...], keep: int = 2) -> None:
    """Ray leaves a folder of logs for every start; keep the last few."""
    if "ray" not in missing:
        return
    sessions = sorted(path for path in layout.ray_temp.glob("session_2*") if path.is_dir())
    for path in sessions[:-keep]:
        shutil.rmtree(path, ignore_errors=True)


def _memory(process: psutil.Process) -> int:
    total = 0
    with contextlib.suppress(psutil.Error):
        for member in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += member.memory_info().rss
    return total
