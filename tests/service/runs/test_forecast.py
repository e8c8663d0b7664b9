"""When one that waits will start."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from service.bodies.owners import Caps
from service.gateway.ray_jobs import Node
from service.runs import spans
from service.runs.forecast import OPEN, Busy, Queued, Span, Start, forecast
from service.runs.queue import Line, head_of, why_never
from service.runs.room import Need
from service.runs.spans import Length, Pace


def exactly(seconds: float) -> Span:
    return Span(seconds, seconds)


def busy(cpus: float, left: Span, owner: str = "ada") -> Busy:
    return Busy(owner, Need(1, cpus), left)


def queued(cpus: float, lasts: Span = OPEN, owner: str = "ada", *, place: int = 0, after: float = 0.0) -> Queued:
    return Queued(owner, Need(1, cpus), lasts, after, (True, place))


def full(cpus: float = 4) -> list[Node]:
    return [Node("n", cpus, 0)]


def test_it_starts_when_what_it_waits_for_ends() -> None:
    assert forecast(full(), [busy(4, exactly(100))], [queued(4)]) == Start(100, 100, False)
    assert forecast(full(), [busy(4, Span(80, 120))], [queued(4)]) == Start(80, 120, False)
    assert forecast(full(), [busy(2, exactly(50)), busy(2, exactly(100))], [queued(2)]).early == 50
    assert forecast([Node("n", 4, 4)], [], [queued(4)]) == Start(0, 0, False)


def test_it_waits_for_those_ahead_and_for_as_long_as_these_take() -> None:
    line = [queued(4, exactly(30)), queued(4, Span(10, 20)), queued(4)]
    assert forecast(full(), [busy(4, exactly(100))], line) == Start(140, 150, False)


def test_it_passes_those_ahead_where_the_queue_would_let_it() -> None:
    """The first waits for four; what is free beyond them nobody needs."""
    assert forecast([Node("n", 8, 4, 1, 0)], [busy(4, exactly(100))], [queued(8), queued(4)]).early == 100
    gpu = Queued("ada", Need(1, 1, 1), OPEN)
    nodes = [Node("n", 8, 4, 1, 0)]
    assert forecast(nodes, [Busy("ada", Need(1, 4, 1), exactly(100))], [gpu, queued(3)]).late == 0


def test_an_end_that_nobody_knows_leaves_the_late_time_open() -> None:
    found = forecast(full(), [busy(4, OPEN)], [queued(4)])
    assert (found.early, found.late, found.guess) == (0, math.inf, True)
    assert forecast(full(), [busy(2, exactly(10)), busy(2, OPEN)], [queued(2)]) == Start(0, 10, True)


def test_one_between_two_attempts_is_in_the_line_once_its_pause_is_over() -> None:
    nodes = [Node("n", 4, 4)]
    assert forecast(nodes, [], [queued(4, exactly(10), after=30), queued(4, exactly(10))]).late == 0
    assert forecast(nodes, [], [queued(4, after=30)]) == Start(30, 30, False)
    line = [queued(4, exactly(10), place=1, after=30), queued(4, exactly(50), place=2), queued(4, place=3)]
    assert forecast(nodes, [], line).late == 60, "at 50 the first is there, and goes before"


def test_one_that_makes_room_is_in_the_line_again_once_it_has_left_at_its_place() -> None:
    """It is gone in 10 seconds and has 50 of its own left; the room is for the first, which takes 20."""
    back = queued(4, exactly(50), place=5)
    leaving = busy(4, exactly(10))._replace(back=back)
    promised = Queued("bob", Need(1, 4), exactly(20), turn=(False, 9))
    assert forecast(full(), [leaving], [promised, queued(4, place=4)]).late == 10 + 20, "it is ahead of it"
    assert forecast(full(), [leaving], [promised, queued(4, place=6)]).late == 10 + 20 + 50, "it is behind it"


def test_who_may_come_yet_and_be_ahead_makes_the_late_time_later_and_not_the_early_one() -> None:
    running, mine = [busy(4, exactly(100))], queued(4, place=7)
    likely = [queued(4, exactly(30), place=3, after=60), queued(4, exactly(40), place=4, after=90)]
    assert forecast(full(), running, [mine], likely=likely) == Start(100, 170, False)
    too_late = [queued(4, exactly(30), place=3, after=101)]
    assert forecast(full(), running, [mine], likely=too_late) == Start(100, 100, False)


def test_what_others_own_and_ray_does_not_tell_of_stays_used() -> None:
    assert forecast(full(), [], [queued(1)]).early == math.inf
    assert forecast([Node("n", 4, 1)], [busy(1, exactly(5))], [queued(2)]).early == 5


def test_caps_hold_in_the_forecast_too() -> None:
    caps = {"ada": Caps(running=1)}
    nodes = [Node("n", 4, 3)]
    assert forecast(nodes, [busy(1, exactly(60))], [queued(1)], caps) == Start(60, 60, False)
    assert forecast(nodes, [busy(1, exactly(60))], [queued(1, owner="bob")], caps).late == 0


def test_one_that_waits_for_memory_on_the_head_starts_when_another_driver_leaves() -> None:
    idle, running = [Node("n", 64, 60)], [busy(2, exactly(50)), busy(2, exactly(90))]
    assert forecast(idle, running, [queued(1)], drivers=2) == Start(50, 50, False)
    assert forecast(idle, running, [queued(1)], drivers=1) == Start(90, 90, False), "the head has one too many"
    assert forecast(idle, running, [queued(1)], drivers=3).late == 0
    line = [queued(1, exactly(10)), queued(1, exactly(10)), queued(1)]
    assert forecast(idle, running, line, drivers=2) == Start(70, 70, False), (
        "each takes its driver's place, and leaves it"
    )
    asked = Busy("", Need(1, 1), OPEN, driver=False)
    assert forecast(idle, [*running, asked], [queued(1)], drivers=3).late == 0, "who answers questions has no driver"


lengths = st.integers(1, 5).map(lambda count: float(10 * count))
needs = st.builds(Need, st.integers(1, 3), st.sampled_from([1.0, 2.0, 3.0]), st.sampled_from([0.0, 0.0, 1.0]))
runs = st.lists(st.tuples(needs, lengths), max_size=4)


def plainly(
    node: Node, running: list[tuple[Need, float]], line: list[tuple[Need, float]], drivers: int | None
) -> float:
    """When the last in line starts: the queue's decision again and again, in steps of ten seconds."""
    free, ends, waiting = [node.cpus_free, node.gpus_free], list(running), list(line)
    for now in range(0, 2000, 10):
        for need, end in [item for item in ends if item[1] == now and now]:
            ends.remove((need, end))
            free = [free[0] + need.total_cpus, free[1] + need.total_gpus]
        now_free = replace(node, cpus_free=free[0], gpus_free=free[1])
        queue = Line([now_free], [], head=head_of(drivers, len(ends)))
        verdicts = [queue.next(need) for need, _ in waiting]
        if verdicts[-1].starts:
            return float(now)
        for need, lasts in [item for item, verdict in zip(waiting, verdicts, strict=True) if verdict.starts]:
            waiting.remove((need, lasts))
            ends.append((need, now + lasts))
            free = [free[0] - need.total_cpus, free[1] - need.total_gpus]
    return math.inf


@given(runs, runs, needs, st.none() | st.integers(1, 5))
@examples(80)
def test_with_known_ends_it_is_what_the_queue_then_does(
    running: list[tuple[Need, float]], ahead: list[tuple[Need, float]], mine: Need, drivers: int | None
) -> None:
    node = Node("n", 12, 12, 3, 3)
    used = [sum(need.total_cpus for need, _ in running), sum(need.total_gpus for need, _ in running)]
    if used[0] > 12 or used[1] > 3 or why_never([node], mine):
        return
    now = replace(node, cpus_free=12 - used[0], gpus_free=3 - used[1])
    possible = [(need, lasts) for need, lasts in ahead if not why_never([node], need)]
    found = forecast(
        [now],
        [Busy("ada", need, exactly(left)) for need, left in running],
        [*(Queued("ada", need, exactly(lasts)) for need, lasts in possible), Queued("ada", mine, exactly(0))],
        drivers=drivers,
    )
    assert found.early == found.late == plainly(now, running, [*possible, (mine, 1e9)], drivers)


@given(
    st.lists(st.tuples(needs, lengths, st.floats(1, 3)), max_size=4),
    st.lists(st.tuples(needs, lengths, st.floats(1, 3)), max_size=4),
    needs,
)
@examples(30)
def test_the_early_time_is_no_later_than_the_late_one(
    running: list[tuple[Need, float, float]], ahead: list[tuple[Need, float, float]], mine: Need
) -> None:
    nodes = [Node("a", 8, 0, 2, 0), Node("b", 8, 2, 2, 1)]
    found = forecast(
        nodes,
        [Busy("ada", need, Span(left, left * wide)) for need, left, wide in running],
        [*(Queued("ada", need, Span(left, left * wide)) for need, left, wide in ahead), Queued("ada", mine, OPEN)],
    )
    assert 0 <= found.early <= found.late


# -- how long runs take


def test_a_run_says_when_it_ends_or_how_fast_it_is() -> None:
    assert spans.told({"eta_seconds": 90.0, "images_per_second": 1.0, "total_images": 10}) == 90
    assert spans.told({"images": 400, "total_images": 1000, "images_per_second": 3.0, "eta_seconds": None}) == 200
    for nothing in (
        None,
        {},
        {"images": 5},
        {"eta_seconds": float("nan")},
        {"total_images": 9, "images_per_second": 0.0},
    ):
        assert spans.told(nothing) is None


def test_jobs_of_the_same_name_count_before_others_of_their_family() -> None:
    named = [Length("mine", 1000, seconds) for seconds in (100.0, 110.0, 120.0)]
    others = [Length("other", 1000, 900.0)]
    assert spans.pace([*named, *others], "mine") == Pace(0.1 / 1.25, 0.12 * 1.25)
    assert spans.pace([*named[:1], *others], "mine") == Pace(0.1 / 2, 0.9 * 2)
    assert spans.pace([Length("mine", 0, 5.0)], "mine") is None


@pytest.mark.parametrize(
    ("facts", "span"),
    [
        ((100.0, None, None, 0.0, None), Span(90.0, 180.0)),
        ((None, Pace(0.1, 0.3), 1000.0, 50.0, None), Span(50.0, 310.0, True)),
        ((None, Pace(0.1, 0.3), 1000.0, 500.0, None), Span(0.0, 60.0, True)),
        ((None, None, 1000.0, 0.0, None), OPEN),
        ((None, None, 1000.0, 0.0, 600.0), Span(0.0, 660.0, True)),
        ((1000.0, None, None, 0.0, 600.0), Span(600.0, 660.0)),
    ],
)
def test_how_long_a_run_goes_on_is_taken_from_the_best_that_is_known_and_its_limit(
    facts: tuple[float | Pace | None, ...], span: Span
) -> None:
    assert spans.left(*facts) == span  # type: ignore[arg-type]
