"""What all tests share: the embedded stack, and the order that keeps two test processes busy."""

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
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The tests of the stack follow each other, the other system tests come after it has been stopped.

    In the processes of `--dist loadgroup` they begin first, in one process, because they take longest; every other file
    stays in one process, so that its module fixtures are made once.
    """
    shared = getattr(config.option, "loadgroup", False)  # of a test process; set by xdist
    if shared:
        for item in items:
            if item.get_closest_marker("xdist_group") is None:
                item.add_marker(pytest.mark.xdist_group(item.path.stem))
    items.sort(key=lambda item: _turn(item, 3 if shared else 0))


def _turn(item: pytest.Item, fast: int) -> int:
    if item.get_closest_marker("system") is None:
        return fast
    group = item.get_closest_marker("xdist_group")
    return 1 if group is not None and group.args == (STACK,) else 2
