"""Which waiting job may start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_admission import minus_unseen, starting, take

from service.gateway.ray_jobs import Node
from service.runs.queue import Line, admit, why_never
from service.runs.room import Need


def node(cpus: float, free: float | None = None, gpus: float = 0, gpus_free: float | None = None) -> Node:
    return Node("n", cpus, cpus if free is None else free, gpus, gpus if gpus_free is None else gpus_free)


def last(nodes: list[Node], active: list[Need], ahead: list[Need], mine: Need) -> str | None:
    """Why the last in line waits; None if it starts."""
    verdict = admit(nodes, active, [*ahead, mine])[-1]
    return None if verdict.starts else verdict.reason


def test_a_job_that_fits_starts() -> None:
    assert last([node(2)], [], [], Need(2, 1)) is None


def test_a_waiting_job_says_for_what_and_how_much_of_it_is_free() -> None:
    assert last([node(4, 1)], [], [], Need(4, 1)) == "waits for 4 CPUs; 1 of 4 CPUs free"
    assert last([node(8, 8, 2, 0)], [], [], Need(1, 1, 1)) == "waits for 1 CPU and 1 GPU; 0 of 2 GPUs free"


def test_a_job_bigger_than_the_cluster_says_so_and_how_to_help() -> None:
    reason = last([node(2)], [], [], Need(8, 1)) or ""
    assert "needs 8 CPUs, more than the whole cluster has (2 CPUs)" in reason
    assert "resources.workers" in reason
    reason = last([node(64)], [], [], Need(1, 1, 1)) or ""
    assert "1 GPU" in reason
    assert "0 GPUs" in reason
    assert "no set of the cluster's nodes" in (last([node(2), node(2)], [], [], Need(1, 4)) or "")
    assert "no nodes" in (last([], [], [], Need(1, 1)) or "")


def test_a_job_that_just_started_counts_before_ray_reports_its_use() -> None:
    assert last([node(4)], [Need(3, 1)], [], Need(2, 1)) == "waits for 2 CPUs; 1 of 4 CPUs free"
    assert last([node(4, 1)], [Need(3, 1)], [], Need(1, 1)) is None, "its use must not count twice"
    assert last([node(4)], [], [Need(3, 1)], Need(2, 1)) == "waits for 2 CPUs; 1 of 4 CPUs free"


def test_a_later_small_job_does_not_starve_an_earlier_large_one() -> None:
    reason = last([node(4, 2)], [], [Need(4, 1)], Need(1, 1))
    assert reason == "waits for 1 CPU, which 1 job ahead will take first"


def test_a_job_that_waits_for_a_gpu_leaves_idle_cpus_to_others() -> None:
    nodes = [node(64, 60, 1, 0)]
    assert last(nodes, [], [Need(1, 4, 1)], Need(8, 1)) is None
    assert last(nodes, [], [Need(1, 4, 1)], Need(58, 1)) is not None, "the earlier job's 4 CPUs are kept for it"


def test_a_job_that_can_never_start_keeps_nobody_waiting() -> None:
    assert last([node(4)], [], [Need(99, 1)], Need(4, 1)) is None


def test_a_worker_needs_its_cpus_on_one_node() -> None:
    reason = last([node(4, 2), node(4, 2)], [], [], Need(1, 3)) or ""
    assert "not on the same node" in reason


@pytest.mark.parametrize(
    ("ahead", "words"), [(1, "1 job ahead"), (10, "10 jobs ahead"), (11, "over 10"), (201, "over 200"), (2000, "over 1,000")]
)  # fmt: skip
def test_a_job_far_behind_hears_a_round_number_so_that_its_reason_is_not_written_anew_whenever_one_starts(
    ahead: int, words: str
) -> None:
    assert words in (last([node(4, 2)], [], [Need(4, 1)] * ahead, Need(1, 1)) or "")


def test_the_reasons_of_a_long_line_hardly_change_when_its_first_job_starts() -> None:
    line = [Need(2, 1)] * 2000
    before = admit([node(8, 0)], [], line)
    after = admit([node(8, 2)], [], line)
    assert [item.starts for item in after] == [True] + [False] * 1999
    assert sum(one != other for one, other in zip(before[1:], after[1:], strict=True)) < 25


@pytest.mark.parametrize("freed", [(32, 0), (2, 2), (64, 0)])
def test_the_reasons_of_a_long_line_do_not_change_with_what_is_free(freed: tuple[float, float]) -> None:
    """Every change is written: of thousands, those near the front alone."""
    line = [Need(1 + index % 5, 1.0 + index % 3, float(index % 2)) for index in range(2000)]
    cluster = [node(64, 0, 8, 0) for _ in range(8)]
    before = admit(cluster, [], [Need(512, 1, 0), *line])
    after = admit([node(64, freed[0], 8, freed[1]), *cluster[1:]], [], [Need(512, 1, 0), *line])
    assert not any(item.starts for item in after)
    assert sum(one != other for one, other in zip(before, after, strict=True)) < 25


def test_a_verdict_says_which_resource_lacks() -> None:
    nodes = [node(8, 4, 2, 0)]
    verdicts = admit(nodes, [], [Need(1, 1, 1), Need(6, 1), Need(2, 3, 1), Need(99, 1)])
    assert [item.lacks for item in verdicts] == ["gpu", "cpu", "any", ""]
    assert admit([node(4, 2)], [], [Need(4, 1), Need(1, 1)])[1].lacks == "any"


amounts = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 8.0])
nodes = st.lists(
    st.builds(
        lambda c, cf, g, gf: node(c, min(c, cf), g, min(g, gf)), amounts, amounts, amounts.map(int), amounts.map(int)
    ),
    max_size=4,
)
needs = st.builds(Need, st.integers(1, 6), st.sampled_from([0.5, 1.0, 2.0, 5e-324, 1e308]), st.sampled_from([0.0, 1.0]))
lines = st.lists(needs, max_size=25)


@given(nodes, st.lists(needs, max_size=3), lines)
def test_the_carried_line_decides_as_going_through_all_earlier_jobs_for_each(
    cluster: list[Node], active: list[Need], line: list[Need]
) -> None:
    assert [item.starts for item in admit(cluster, active, line)] == starting(cluster, active, line)


@given(nodes, lines, lines)
def test_who_comes_later_changes_nothing_for_those_before(
    cluster: list[Node], line: list[Need], more: list[Need]
) -> None:
    """So a round may decide of those alone that came since the last one."""
    whole, queue = admit(cluster, [], [*line, *more]), Line(cluster, [])
    assert [queue.next(need) for need in line] == whole[: len(line)]
    assert [queue.next(need) for need in more] == whole[len(line) :]


@given(nodes, st.lists(needs, max_size=3), lines)
def test_what_starts_together_fits_together_and_every_refusal_has_words(
    cluster: list[Node], active: list[Need], line: list[Need]
) -> None:
    verdicts = admit(cluster, active, line)
    free = minus_unseen(list(cluster), active)
    for need, verdict in zip(line, verdicts, strict=True):
        if verdict.starts:
            free, unplaced = take(free, need)
            assert unplaced == 0
        else:
            assert verdict.reason.startswith(("waits for", "needs"))
            assert verdict.reason.startswith("needs") == (verdict.lacks == "")


@given(nodes, st.lists(needs, min_size=2, max_size=8))
def test_nobody_takes_what_an_earlier_job_waits_for(cluster: list[Node], line: list[Need]) -> None:
    """Each that starts would also start if all earlier ones, those that wait too, had taken their place as far as there is one."""
    verdicts = admit(cluster, [], line)
    left = [Node(item.id, item.cpus, item.cpus_free, item.gpus, item.gpus_free) for item in cluster]
    for need, verdict in zip(line, verdicts, strict=True):
        after, unplaced = take(left, need)
        if verdict.starts:
            assert not unplaced
        if why_never(cluster, need) is None:
            left = after


@given(nodes, st.lists(needs, min_size=1, max_size=6))
def test_the_first_in_line_that_can_ever_start_is_held_up_by_load_alone(cluster: list[Node], line: list[Need]) -> None:
    idle = [Node(item.id, item.cpus, item.cpus, item.gpus, item.gpus) for item in cluster]
    verdicts = admit(idle, [], line)
    for mine, verdict in zip(line, verdicts, strict=True):
        if why_never(idle, mine) is None:
            assert verdict.starts, "on an idle cluster it starts: no starvation"
            return


@given(nodes, st.lists(needs, max_size=3), st.lists(needs, max_size=3), needs)
def test_more_load_never_lets_the_first_in_line_start(
    cluster: list[Node], active: list[Need], more: list[Need], mine: Need
) -> None:
    if last(cluster, [*active, *more], [], mine) is None:
        assert last(cluster, active, [], mine) is None
