"""A long line that some come into and leave: the same is decided as if all of it were gone through each time."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from service.gateway.ray_jobs import Node, NodeState
from service.runs.queue import NEAR, Head, Line, Verdict
from service.runs.room import Need, Room
from service.runs.standing import Standing


class Item(NamedTuple):
    place: int
    number: int
    need: Need


def node(cpus: float, free: float, gpus: float = 0, gpus_free: float = 0, state: NodeState = "there") -> Node:
    """One that isn't there is free altogether."""
    free, gpus_free = (free, gpus_free) if state == "there" else (cpus, gpus)
    return Node("n", cpus, min(cpus, free), gpus, min(gpus, gpus_free), state=state)


amounts = st.sampled_from([0.0, 1.0, 2.0, 4.0, 8.0])
states = st.sampled_from(["there", "there", "there", "spare", "late"])
clusters = st.one_of(
    st.lists(
        st.builds(node, st.sampled_from([4.0, 8.0]), amounts, st.sampled_from([0, 2]), amounts, states), max_size=3
    ),
    st.just("Ray is away"),
)
needs = st.builds(Need, st.integers(1, 4), st.sampled_from([0.5, 1.0, 2.0, 16.0]), st.sampled_from([0.0, 0.0, 1.0]))
steps = st.lists(
    st.tuples(
        st.none() | clusters,
        st.lists(st.tuples(st.integers(0, 9), needs), max_size=14),
        st.lists(st.integers(0, 40), max_size=4),
        st.sampled_from([2, 50]),
    ),
    max_size=7,
)


def expected(cluster: list[Node] | str, active: list[Need], line: list[Item], head: Head) -> list[Verdict]:
    if isinstance(cluster, str):
        return [Verdict(False, cluster)] * len(line)
    whole = Line(cluster, active, head=head)
    return [whole.next(item.need) for item in line]


@given(steps, st.sampled_from([inf, inf, 1, 3, 8]))
@examples(120)
def test_what_is_told_is_what_going_through_the_whole_line_would_say(
    story: list[tuple[list[Node] | str | None, list[tuple[int, Need]], list[int], int]],
    drivers: float,
) -> None:
    standing: Standing[Item] = Standing()
    cluster: list[Node] | str = [node(8, 0, 2, 0)]
    line: list[Item] = []
    told: dict[int, Verdict] = {}
    active: list[Need] = []
    number = 0
    for step, (changed, came, left, most) in enumerate(story):
        if isinstance(changed, list):  # never as it was before: Ray's report lags, and by it nothing has happened
            changed = [replace(item, id=str(step)) for item in changed]
        cluster = cluster if changed is None else changed
        fresh = [Item(place, number + index, need) for index, (place, need) in enumerate(came)]
        number += len(fresh)
        gone = {item.number for index, item in enumerate(line) if index in left}
        line = sorted([item for item in line if item.number not in gone] + fresh)
        head = Head(drivers, drivers - len(active))
        decision = standing.decide(cluster, sorted(active), fresh, gone, most, memory=head)
        wanted = expected(cluster, sorted(active), line, head)
        starting = [item for item, verdict in zip(line, wanted, strict=True) if verdict.starts]
        assert decision.chosen == starting[:most]
        assert decision.whole == (len(starting) < most)
        if not decision.whole:
            return
        told |= {item.number: verdict for item, verdict in decision.told}
        for item, verdict in zip(line, wanted, strict=True):
            assert verdict.starts or told[item.number] == verdict, item
        line = [item for item in line if item not in decision.chosen]
        assert sorted(standing) == line
        if decision.chosen:  # it is on the cluster from now on, and Ray says so
            assert not isinstance(cluster, str)
            late = Node("late", 0, 0)  # nobody starts there
            free = [late if item.state == "late" else item for item in cluster]
            room = Room((item.cpus_free, item.gpus_free) for item in free)
            for item in decision.chosen:
                assert room.take(item.need) == 0
            active += [item.need for item in decision.chosen]
            cluster = [
                item if item.state == "late" else replace(item, cpus_free=left[0], gpus_free=left[1])
                for item, left in zip(cluster, room.nodes, strict=True)
            ]


@pytest.mark.parametrize("place", [5, 400, 1500])
def test_one_that_comes_into_a_long_line_changes_what_few_are_told(place: int) -> None:
    standing: Standing[Item] = Standing()
    line = [Item(2 * index, index, Need(1, 2.0)) for index in range(2000)]
    cluster = [node(8, 1) for _ in range(4)]
    first = standing.decide(cluster, [], line, (), 8)
    assert (len(first.told), first.chosen) == (2000, [])
    decision = standing.decide(cluster, [], [Item(2 * place + 1, 9999, Need(2, 2.0))], (), 8)
    assert len(decision.told) < 40 + NEAR
    decision = standing.decide([node(8, 0), *cluster[1:]], [], [], {place}, 8)
    assert len(decision.told) < 60 + NEAR
