"""What all tests share: packed digits, the embedded stack and the order of its tests, signals as a terminal gives them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from embedded import Stack

STACK = "stack"


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

    from service import local

    stack = Stack(tmp_path_factory.mktemp("home"))
    try:
        stack.start()
        yield stack
    finally:
        local.down(stack.layout)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of the stack follow each other after the fast ones; the other system tests come when it has been stopped."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    if item.get_closest_marker("system") is None:
        return 0
    group = item.get_closest_marker("xdist_group")
    return 1 if group is not None and group.args == (STACK,) else 2
