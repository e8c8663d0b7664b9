"""Which waiting job may start."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.gateway.ray_jobs import Node
from service.reconciler.admission import Need, why_wait


def node(cpus: float, free: float | None = None, gpus: float = 0, gpus_free: float | None = None) -> Node:
    return Node("n", cpus, cpus if free is None else free, gpus, gpus if gpus_free is None else gpus_free)


def test_a_job_that_fits_starts() -> None:
    assert why_wait([node(2)], [], [], Need(2, 1)) is None


def test_a_waiting_job_says_for_what_and_how_much_of_it_is_free() -> None:
    assert why_wait([node(4, 1)], [], [], Need(4, 1)) == "waits for 4 CPUs; 1 of 4 CPUs free"
    assert why_wait([node(8, 8, 2, 0)], [], [], Need(1, 1, 1)) == "waits for 1 CPU and 1 GPU; 0 of 2 GPUs free"


def test_a_job_bigger_than_the_cluster_says_so_and_how_to_help() -> None:
    reason = why_wait([node(2)], [], [], Need(8, 1)) or ""
    assert "needs 8 CPUs, more than the whole cluster has (2 CPUs)" in reason
    assert "resources.workers" in reason
    reason = why_wait([node(64)], [], [], Need(1, 1, 1)) or ""
    assert "1 GPU" in reason
    assert "0 GPUs" in reason
    assert "no set of the cluster's nodes" in (why_wait([node(2), node(2)], [], [], Need(1, 4)) or "")
    assert "no nodes" in (why_wait([], [], [], Need(1, 1)) or "")


def test_a_job_that_just_started_counts_before_ray_reports_its_use() -> None:
    assert why_wait([node(4)], [Need(3, 1)], [], Need(2, 1)) == "waits for 2 CPUs; 1 of 4 CPUs free"
    assert why_wait([node(4, 1)], [Need(3, 1)], [], Need(1, 1)) is None, "its use must not count twice"


def test_a_later_small_job_does_not_starve_an_earlier_large_one() -> None:
    reason = why_wait([node(4, 2)], [], [Need(4, 1)], Need(1, 1))
    assert reason == "waits for 1 CPU, which 1 earlier job will take first"


def test_a_job_that_waits_for_a_gpu_leaves_idle_cpus_to_others() -> None:
    nodes = [node(64, 60, 1, 0)]
    assert why_wait(nodes, [], [Need(1, 4, 1)], Need(8, 1)) is None
    assert why_wait(nodes, [], [Need(1, 4, 1)], Need(58, 1)) is not None, "the earlier job's 4 CPUs are kept for it"


def test_a_job_that_can_never_start_keeps_nobody_waiting() -> None:
    assert why_wait([node(4)], [], [Need(99, 1)], Need(4, 1)) is None


def test_a_worker_needs_its_cpus_on_one_node() -> None:
    reason = why_wait([node(4, 2), node(4, 2)], [], [], Need(1, 3)) or ""
    assert "not on the same node" in reason


amounts = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 8.0])
nodes = st.lists(
    st.builds(
        lambda c, cf, g, gf: node(c, min(c, cf), g, min(g, gf)), amounts, amounts, amounts.map(int), amounts.map(int)
    ),
    max_size=4,
)
needs = st.builds(Need, st.integers(1, 6), st.sampled_from([0.5, 1.0, 2.0, 5e-324, 1e308]), st.sampled_from([0.0, 1.0]))


@given(nodes, st.lists(needs, max_size=3), st.lists(needs, max_size=3), needs)
def test_more_load_never_lets_a_job_start_and_every_refusal_has_words(
    cluster: list[Node], active: list[Need], ahead: list[Need], mine: Need
) -> None:
    verdict = why_wait(cluster, active, ahead, mine)
    if verdict is None:
        assert why_wait(cluster, [], [], mine) is None
        assert mine.total_cpus <= sum(item.cpus for item in cluster) + 1e-6
        assert mine.total_gpus <= sum(item.gpus for item in cluster)
    else:
        assert verdict.startswith(("waits for", "needs"))


@given(nodes, st.lists(needs, min_size=1, max_size=6))
def test_the_first_in_line_that_can_ever_start_is_held_up_by_load_alone(cluster: list[Node], line: list[Need]) -> None:
    idle = [Node(item.id, item.cpus, item.cpus, item.gpus, item.gpus) for item in cluster]
    for position, mine in enumerate(line):
        if why_wait(idle, [], [], mine) is None:
            assert why_wait(idle, [], line[:position], mine) is None, "on an idle cluster it starts: no starvation"
            return
