"""Start, look at and stop processes so that none stays behind.

Every process of a stack inherits STACK_ENV. That finds those that are nobody's children any more (a driver whose raylet
was killed), which neither a pid file nor a process group does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

STACK_ENV = "AGON_STACK_ID"
PART_ENV = "AGON_STACK_PART"


def spawn(command: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path) -> psutil.Popen:
    """Start a process of its own session (Ctrl-C in a terminal does not reach it), with its output in `log`."""
    with log.open("ab") as output:
        return psutil.Popen(
            list(command),
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def is_alive(pid: int, create_time: float) -> bool:
    """Whether the process that had `pid` at `create_time` (seconds since the epoch) still runs; a zombie does not."""
    return find(pid, create_time) is not None


def find(pid: int, create_time: float) -> psutil.Process | None:
    """That very process, or None if it has ended, also if its pid has been given away since."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - create_time) < 0.05
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def members(stack_id: str, part: str | None = None) -> list[psutil.Process]:
    """Every process of this stack (of one of its parts), wherever it hangs in the process tree; not the caller."""
    found = []
    for process in psutil.process_iter():
        try:
            env = process.environ() if process.pid != os.getpid() else {}
            if env.get(STACK_ENV) == stack_id and part in (None, env.get(PART_ENV)):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return [process for process in found if _running(process)]


def stop(process: psutil.Process, grace: float) -> None:
    """SIGTERM, and after `grace` seconds SIGKILL, to the process and all below it."""
    family = [process, *_below(process)]
    with contextlib.suppress(psutil.Error):
        process.terminate()
    _wait([process], grace)
    kill(family)


def kill(processes: Iterable[psutil.Process], timeout: float = 5.0) -> None:
    """SIGKILL, and wait until they are gone."""
    targets = [process for process in processes if _running(process)]
    for process in targets:
        with contextlib.suppress(psutil.Error):
            process.kill()
    _wait(targets, timeout)


def kill_members(stack_id: str, part: str | None = None, patience: float = 10.0) -> int:
    """Kill what is left of a stack (of one part), also what that starts meanwhile; how many processes it took."""
    killed: set[int] = set()
    until = time.monotonic() + patience
    while (left := members(stack_id, part)) and time.monotonic() < until:
        killed.update(process.pid for process in left)
        kill(left, timeout=1.0)
    return len(killed)


Handler = Callable[[int, FrameType | None], Any] | int | None
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def on_ending_signals(handler: Handler) -> Iterator[None]:
    """While the body runs, SIGINT, SIGTERM and SIGHUP go to `handler`. Does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in ENDING}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def interrupts_held() -> contextlib.AbstractContextManager[None]:
    """While the body runs, Ctrl-C and SIGTERM do nothing: half a clean-up would leave processes behind."""
    return on_ending_signals(signal.SIG_IGN)


def interrupts_raised() -> contextlib.AbstractContextManager[None]:
    """While the body runs, SIGTERM and SIGHUP raise KeyboardInterrupt as Ctrl-C does, so that `finally` runs."""
    return on_ending_signals(signal.default_int_handler)


def _wait(processes: Iterable[psutil.Process], timeout: float) -> None:
    """Until they have ended. A zombie has: in a container, nobody may ever reap those that lost their parent."""
    until = time.monotonic() + timeout
    left = list(processes)
    while (left := [process for process in left if _running(process)]) and time.monotonic() < until:
        time.sleep(0.02)


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
