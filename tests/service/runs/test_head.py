"""No more runs than Ray's head has memory for, and nobody starves for it."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.gateway.ray_jobs import Node
from service.runs.head import OWN, drivers
from service.runs.queue import NEAR, Head, Line, Verdict
from service.runs.room import Need
from service.settings import Settings

GIB = 1 << 30
EACH = Settings().driver_memory
WORKER = Node("worker", 8, 8, memory=64 * GIB)


def head(memory: float, cpus: float = 0) -> Node:
    return Node("head", cpus, cpus, memory=memory, head=True)


@pytest.mark.parametrize(("memory", "count"), [(4, 4), (6, 7), (32, 52), (0.5, 1)])
def test_a_head_holds_the_drivers_that_its_memory_holds_beside_its_own(memory: float, count: int) -> None:
    assert drivers([head(memory * GIB), WORKER], EACH) == count
    assert OWN + count * EACH <= max(memory * GIB, OWN + EACH)


def test_drivers_are_counted_where_a_head_is_known_and_is_not_the_machine_that_trains() -> None:
    assert drivers([head(4 * GIB, cpus=2)], EACH) is None, "agon up: its CPUs limit the runs, as ever"
    assert drivers([head(4 * GIB, cpus=2), WORKER], EACH) is not None
    assert drivers([head(4 * GIB)], EACH) is not None, "it begins with no node"
    assert drivers([head(4 * GIB), WORKER], 0) is None
    assert drivers([head(0), WORKER], EACH) is None
    assert drivers([WORKER], EACH) is None


def told(line: list[Need], left: float, nodes: list[Node] | None = None) -> list[Verdict]:
    queue = Line(nodes or [WORKER], [], head=Head(9, left))
    return [queue.next(need) for need in line]


def test_beyond_it_a_run_waits_and_says_for_what() -> None:
    verdicts = told([Need(1, 1)] * 4, 2)
    assert [verdict.starts for verdict in verdicts] == [True, True, False, False]
    said = "waits for memory on Ray's head node, which has room for 9 runs"
    assert {(verdict.reason, verdict.lacks) for verdict in verdicts[2:]} == {(said, "memory")}


def test_what_else_one_lacks_is_said_first() -> None:
    assert told([Need(1, 8), Need(1, 8)], 1)[1].reason == "waits for 8 CPUs; 0 of 8 CPUs free"


def test_the_first_that_waits_finds_a_place_on_the_head_when_the_rest_is_free() -> None:
    nodes = [Node("worker", 8, 4)]
    assert [verdict.starts for verdict in told([Need(1, 6), Need(1, 1)], 1, nodes)] == [False, False]
    busy = [Node("worker", 8, 8, 1, 0)]
    assert [verdict.starts for verdict in told([Need(1, 1, 1), Need(1, 1)], 1, busy)] == [False, False]
    assert [verdict.starts for verdict in told([Need(1, 1, 1), Need(1, 1, 1), Need(1, 1)], 2, busy)] == [
        False,
        False,
        True,
    ]


def test_of_a_long_line_only_the_first_hear_of_the_head() -> None:
    """Every change is written: of thousands, those near the front alone."""
    line = [Need(1, 1)] * 1000
    full, after = told(line, 0), told(line, 1)
    assert sum(verdict.lacks == "memory" for verdict in full) == NEAR + 1
    assert sum(one != other for one, other in zip(full, after[1:], strict=False)) < 25


needs = st.builds(Need, st.integers(1, 3), st.sampled_from([0.5, 1.0, 4.0, 16.0]), st.sampled_from([0.0, 1.0]))


@given(st.lists(needs, max_size=12), st.integers(-2, 12))
def test_it_is_never_more_than_there_is_room_for_and_more_room_starts_no_fewer(line: list[Need], left: int) -> None:
    nodes = [Node("worker", 8, 6, 2, 1)]
    count = sum(verdict.starts for verdict in told(line, left, nodes))
    assert count <= max(0, left)
    assert (
        count
        <= sum(verdict.starts for verdict in told(line, left + 1, nodes))
        <= sum(verdict.starts for verdict in told(line, inf, nodes))
    )
