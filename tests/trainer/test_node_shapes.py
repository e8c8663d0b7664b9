"""Nodes that an autoscaler may start: as they are written, and for which of them a job waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.launch.elastic import asked_for
from trainer.nodes import GIB, NodeShape, fit, missing, to_start, words


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("4:16", NodeShape(4, 16)),
        (" 2:64:8 ", NodeShape(2, 64, 8)),
        ("gpu-8=2:64:8:512:H100", NodeShape(2, 64, 8, 512 * GIB, "H100", "gpu-8")),
        ("cpu=4:16::64", NodeShape(4, 16, 0, 64 * GIB, "", "cpu")),
        ("2:64:8::A100-80G", NodeShape(2, 64, 8, 0, "A100-80G")),
    ],
)
def test_a_size_is_read_as_it_is_written(text: str, shape: NodeShape) -> None:
    assert NodeShape.parse(text) == shape


@pytest.mark.parametrize(
    "wrong",
    ["4", "x:16", "-1:16", "4:nan", "4:0", "1000000:1", "4:16:1:x", "4:16:0:64:H100", "=4:16", "a b=4:16", "4:16:1:2:H 1", "1:1:1:1:a:b"],
)  # fmt: skip
def test_a_wrong_size_is_refused_with_an_example(wrong: str) -> None:
    with pytest.raises(ValueError, match="4:16,gpu-8=2:64:8:512:H100"):
        NodeShape.parse(wrong)


def test_nodes_that_are_there_are_known_by_their_group_and_without_one_by_their_size() -> None:
    shapes = [NodeShape(3, 16, 1, name="small"), NodeShape(2, 64, 8)]
    there = [("small", 15.5, 1.0), ("other", 16.0, 1.0), ("", 16.0, 1.0), ("any", 64.0, 8.0)]
    assert missing(shapes, there) == [NodeShape(1, 16, 1, name="small"), NodeShape(1, 64, 8)]
    assert missing(shapes, [*there, *there, *there]) == []


GPUS = NodeShape(4, 64, 8, name="gpu-8")
CPUS = NodeShape(8, 16, name="cpu-16")


@pytest.mark.parametrize(
    ("workers", "each", "free", "said"),
    [
        (2, {"CPU": 8.0, "GPU": 8.0}, [], "waits for 2 nodes that are being started (gpu-8)"),
        (16, {"CPU": 4.0, "GPU": 1.0}, [{"CPU": 64.0, "GPU": 8.0}], "waits for 1 node that is being started (gpu-8)"),
        (10, {"CPU": 16.0}, [], "waits for 9 nodes that are being started (8 cpu-16, 1 gpu-8)"),
    ],
)
def test_a_job_says_how_many_nodes_of_which_kind_it_waits_for(
    workers: int, each: dict[str, float], free: list[dict[str, float]], said: str
) -> None:
    assert words(to_start(workers, each, free, [CPUS, GPUS])) == said


def test_nodes_that_do_not_come_are_said_to_be_late_in_words_that_seldom_change() -> None:
    assert (
        words([GPUS], 900) == "waits for 4 nodes (gpu-8), asked for over 15 minutes ago: nothing has started them yet"
    )
    said = {words([NodeShape(1, 16)], seconds) for seconds in range(900, 7200)}
    assert said == {
        f"waits for 1 node (16 CPUs each), asked for over {span} ago: nothing has started it yet"
        for span in ("15 minutes", "30 minutes", "1 hour")
    }


shapes = st.lists(
    st.builds(NodeShape, st.integers(1, 4), st.sampled_from([1.0, 4.0, 16.0]), st.sampled_from([0.0, 1.0, 8.0])),
    max_size=4,
)
frees = st.lists(
    st.fixed_dictionaries({"CPU": st.sampled_from([0.0, 2.0, 16.0]), "GPU": st.sampled_from([0.0, 1.0])}), max_size=3
)


@given(st.integers(1, 12), st.sampled_from([{"CPU": 1.0}, {"CPU": 4.0, "GPU": 1.0}, {"GPU": 2.0}]), frees, shapes)
def test_the_nodes_that_are_waited_for_are_enough_and_one_less_is_not(
    workers: int, each: dict[str, float], free: list[dict[str, float]], more: list[NodeShape]
) -> None:
    def room(some: list[NodeShape]) -> int:
        return sum(fit(each, node) for node in free) + sum(shape.nodes * fit(each, shape.resources) for shape in some)

    found = to_start(workers, each, free, more)
    assert (room(found) >= workers) == (room(more) >= workers)
    if found:
        less = found[-1]._replace(nodes=found[-1].nodes - 1)
        assert room([*found[:-1], less]) < workers


@given(st.sets(st.integers(1, 64), min_size=1), st.integers(0, 100))
def test_an_elastic_job_asks_for_more_than_there_is_and_first_of_all_for_its_smallest_group(
    sizes: set[int], held: int
) -> None:
    """Of the second autoscaler: what all ask for together is started, or nothing."""
    ascending = sorted(sizes)
    found = asked_for(ascending, held)
    assert found >= min(held, ascending[-1]), "else it would not get what is there"
    assert asked_for(ascending, 0) == ascending[0]
    assert all(size <= held or size >= found for size in ascending), "nor more than the next size"
