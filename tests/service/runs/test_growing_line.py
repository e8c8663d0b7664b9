"""The queue of a cluster that an autoscaler makes larger: whose the nodes are that aren't there yet."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from plain_admission import starting

from service.gateway.ray_jobs import Node, NodeState
from service.runs.preemption import Running, plan
from service.runs.queue import Line, admit, why_never
from service.runs.room import Need, Room


def node(cpus: float, gpus: float = 0, state: NodeState = "there") -> Node:
    """Nobody uses any of it."""
    return Node(f"{cpus}-{gpus}-{state}", cpus, cpus, gpus, gpus, state=state, grows=True)


GPUS = node(64, 8, "spare")


def last(nodes: list[Node], active: list[Need], mine: Need) -> str | None:
    """Why it waits; None if it starts."""
    verdict = Line(nodes, active).next(mine)
    return None if verdict.starts else verdict.reason


def test_one_that_waits_for_nodes_leaves_the_cpus_that_are_there_to_others() -> None:
    waits = Need(8, 1, 1)
    assert last([node(16), GPUS], [waits], Need(16, 1)) is None
    assert last([node(16), GPUS], [waits], Need(1, 57)) is not None, "56 are left of those that come"


def test_one_that_was_just_handed_over_has_its_place_where_nodes_are_and_not_on_those_that_may_come() -> None:
    assert last([node(16), GPUS], [Need(16, 1)], Need(8, 8, 1)) is None


def test_what_runs_where_nodes_are_is_not_taken_off_those_that_may_come() -> None:
    busy = Node("busy", 16, 0)
    assert last([busy, GPUS], [Need(16, 1)], Need(8, 8, 1)) is None


def test_words_tell_what_may_still_come_and_what_never_will() -> None:
    assert last([node(2), GPUS], [], Need(9, 1, 1)) == (
        "needs 9 CPUs and 9 GPUs, more than the cluster can ever have (66 CPUs, 8 GPUs); it starts once such nodes are there; "
        "or cancel it and lower resources.workers or resources.cpus_per_worker or resources.gpus_per_worker"
    )
    late = node(64, 8, "late")
    said = "needs 1 CPU and 1 GPU: nodes for it were asked for and haven't come; it starts once they have"
    assert last([node(2), late], [], Need(1, 1, 1)) == said
    assert last([late], [], Need(1, 1, 1)) == said
    assert why_never([node(2), late], Need(1, 1, 1)) == said
    assert why_never([node(2), GPUS], Need(1, 1, 1)) is None


def test_one_that_waits_for_late_nodes_keeps_nobody_waiting() -> None:
    verdicts = admit([node(2), node(64, 8, "late")], [], [Need(1, 1, 1), Need(2, 1)])
    assert [verdict.starts for verdict in verdicts] == [False, True]


class Waiter(NamedTuple):
    number: int
    place: int
    arrived: int
    priority: int
    need: Need


def test_nobody_is_paused_for_one_whose_nodes_may_come_nor_one_that_has_none_itself() -> None:
    running = Running(1, 0, 0, Need(2, 1, 1), preemptible=True, began=0)
    waiter = Waiter(2, 0, 10, 90, Need(2, 1, 1))
    there = Node("there", 8, 6, 2, 0)
    assert plan([there, GPUS], [running], [], [waiter], 10**12) == []
    assert [found.waiter for found in plan([there], [running], [], [waiter], 10**12)] == [2]
    idle = Node("there", 8, 8, 1, 1)
    assert plan([idle], [running._replace(late=True)], [], [waiter], 10**12) == []


states = st.sampled_from(["there", "spare", "spare", "late"])
clusters = st.lists(st.builds(node, st.sampled_from([2.0, 4.0, 8.0]), st.sampled_from([0.0, 2.0]), states), max_size=5)
needs = st.builds(Need, st.integers(1, 6), st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from([0.0, 1.0]))
lines = st.lists(needs, max_size=12)


@given(clusters, lines)
def test_nodes_that_may_come_count_as_if_they_were_there_and_late_ones_as_if_there_were_none(
    cluster: list[Node], line: list[Need]
) -> None:
    there = [item for item in cluster if item.state != "late"]
    assert [verdict.starts for verdict in admit(cluster, [], line)] == starting(there, [], line)


def handed_over(cluster: list[Node], line: list[Need]) -> list[Need]:
    """Those of the line that start, each in a round of its own; Ray reports nothing of them, since their nodes are yet to start."""
    active: list[Need] = []
    for need in line:
        if last(cluster, active, need) is None:
            active.append(need)
    return active


@given(clusters, lines)
def test_however_many_rounds_there_were_no_more_is_handed_over_than_the_cluster_may_have(
    cluster: list[Node], line: list[Need]
) -> None:
    cluster = [*cluster, GPUS]
    active = handed_over(cluster, line)
    there = [item for item in cluster if item.state != "late"]
    assert sum(need.total_cpus for need in active) <= sum(item.cpus for item in there)
    assert sum(need.total_gpus for need in active) <= sum(item.gpus for item in there)


@given(clusters, st.lists(st.integers(1, 6), max_size=12), st.sampled_from([(1.0, 0.0), (2.0, 1.0), (0.5, 1.0)]))
def test_workers_of_one_size_all_have_a_place_of_their_own(
    cluster: list[Node], line: list[int], size: tuple[float, float]
) -> None:
    cluster = [*cluster, GPUS]
    active = handed_over(cluster, [Need(workers, *size) for workers in line])
    room = Room((item.cpus, item.gpus) for item in cluster if item.state != "late")
    assert all(room.take(need) == 0 for need in active)
