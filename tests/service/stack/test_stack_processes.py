"""Processes of a stack are found wherever they are and never mistaken for others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from service.stack.processes import (
    PART_ENV,
    STACK_ENV,
    find,
    interrupts_held,
    interrupts_raised,
    is_alive,
    kill_members,
    members,
    spawn,
    stop,
)

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
# A parent that leaves a grandchild behind in a session of its own, as a Ray driver's process group is.
ORPHANS = [
    sys.executable,
    "-c",
    "import subprocess, sys, time;"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True);"
    "print('ready', flush=True); time.sleep(60)",
]


@pytest.fixture
def stack_id() -> Iterator[str]:
    name = uuid.uuid4().hex
    yield name
    kill_members(name)


def _env(stack_id: str, part: str = "ray") -> dict[str, str]:
    return {**os.environ, STACK_ENV: stack_id, PART_ENV: part}


def _until(check: object, seconds: float = 20.0) -> None:
    assert callable(check)
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)


def test_a_pid_that_was_given_to_another_process_is_not_taken_for_ours() -> None:
    own = psutil.Process()
    assert is_alive(own.pid, own.create_time())
    assert not is_alive(own.pid, own.create_time() - 100)
    assert find(2**22 + 1, 0.0) is None


def test_a_zombie_does_not_count_as_running() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    started = psutil.Process(child.pid).create_time()
    _until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert not is_alive(child.pid, started)
    child.wait()


def test_a_part_writes_to_its_log_and_outlives_ctrl_c_in_the_terminal(tmp_path: Path, stack_id: str) -> None:
    log = tmp_path / "part.log"
    process = spawn(ORPHANS, _env(stack_id), log, tmp_path)
    _until(lambda: log.exists() and "ready" in log.read_text())
    assert os.getsid(process.pid) == process.pid != os.getsid(0)


def test_orphans_in_their_own_session_are_found_and_killed(tmp_path: Path, stack_id: str) -> None:
    log = tmp_path / "part.log"
    process = spawn(ORPHANS, _env(stack_id), log, tmp_path)
    _until(lambda: len(members(stack_id)) == 2)
    process.kill()
    process.wait()
    assert len(members(stack_id)) == 1, "the orphan has another parent and session, and is still ours"
    assert kill_members(stack_id) == 1
    assert members(stack_id) == []


def test_only_the_named_part_of_the_named_stack_is_killed(tmp_path: Path, stack_id: str) -> None:
    spawn(SLEEP, _env(stack_id, "ray"), tmp_path / "a", tmp_path)
    api = spawn(SLEEP, _env(stack_id, "api"), tmp_path / "b", tmp_path)
    other = subprocess.Popen(SLEEP)
    try:
        _until(lambda: len(members(stack_id)) == 2)
        assert kill_members(stack_id, "ray") == 1
        assert [process.pid for process in members(stack_id)] == [api.pid]
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_stop_kills_what_ignores_sigterm_and_all_below_it(tmp_path: Path, stack_id: str) -> None:
    stubborn = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); print('ready', flush=True); time.sleep(60)"
    )
    log = tmp_path / "log"
    process = spawn([sys.executable, "-c", stubborn], _env(stack_id), log, tmp_path)
    _until(lambda: "ready" in log.read_text() and len(members(stack_id)) == 2)
    stop(process, grace=0.3)
    assert members(stack_id) == []


def test_signals_during_a_clean_up_do_not_interrupt_it() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with interrupts_held():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
    assert signal.getsignal(signal.SIGTERM) == before


def _terminated_inside() -> None:
    with interrupts_raised():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)


def test_sigterm_unwinds_like_ctrl_c_so_that_finally_blocks_run() -> None:
    with pytest.raises(KeyboardInterrupt):
        _terminated_inside()
