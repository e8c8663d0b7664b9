"""What all tests share: the embedded stack, and the order in which the system tests use it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from embedded import Stack

STACK = "stack"


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
