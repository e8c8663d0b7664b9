"""What all tests share: packed digits, the embedded stack and the order of its tests, signals as a terminal gives them."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from properties import MANY

if TYPE_CHECKING:
    from embedded import Stack

STACK = "stack"
# As `make test` says: how sums are rounded, and so what a short training comes to, depends on the number of threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# How long an example takes says what else this machine does, nothing of what is tested.
settings.register_profile("agon", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50 * MANY)
settings.load_profile("agon")


def pytest_configure() -> None:
    """Ctrl-C reaches the commands that tests start.

    A shell without job control starts what it puts in the background (`make test &`) with SIGINT ignored; every child
    inherits that, and a test that interrupts a command would wait for ever.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def digits_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder in which the builtin digits are packed once for all tests, of all pytest's processes, that only read them."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "digits-cache"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One start of Ray, MLflow and the API for all tests that are marked `xdist_group("stack")`."""
    from embedded import Stack

    # Every test of the stack shows that it works below such a path: a space, an umlaut, what means something in URLs and shells.
    stack = Stack(tmp_path_factory.mktemp("höme #1 %2F&?"))
    _RUNNING.append(stack)
    try:
        stack.start()
        yield stack
    finally:
        _stop_stack()


_RUNNING: list[Stack] = []


def _stop_stack() -> None:
    from service import local
    from service.stack.processes import members

    for stack in list(_RUNNING):
        record = stack.found
        local.down(stack.layout)
        _RUNNING.remove(stack)
        assert record is None or members(record.stack_id) == [], "something of the stack runs on"


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Stop the stack with the last test of it: pytest would keep it for the session, and the tests after it, which have
    clusters of their own, want its memory and its share of the cores."""
    items = item.session.items
    if _RUNNING and not any(_turn(later) == 1 for later in items[items.index(item) + 1 :]):
        _stop_stack()


LOG_TAIL = 6000
"""Bytes of each log that a failed test shows."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed in its body shows what the processes that it started had to say: the ends of the logs in its folder."""
    report = yield
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    if report.when == "call" and report.failed and folder is not None:
        for place, _, names in os.walk(folder):  # folders may come and go: its processes may still be at work
            logs = [Path(place, name) for name in sorted(names) if name.endswith(".log") or name == "events.jsonl"]
            report.sections += [(str(log), tail) for log in logs if (tail := _end(log))]
    return report


def _end(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def pytest_collection_finish() -> None:
    """What has been imported and collected stays for good: no garbage collection need look through it again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of the stack follow each other after the fast ones; the other system tests come when it has been stopped.

    Whichever files the stack has: the test that stops it itself comes last of them.
    """
    items.sort(key=lambda item: (_turn(item), item.get_closest_marker("stops_the_stack") is not None))


def _turn(item: pytest.Item) -> int:
    if item.get_closest_marker("system") is None:
        return 0
    group = item.get_closest_marker("xdist_group")
    return 1 if group is not None and group.args == (STACK,) else 2
