"""Whom to pause so that another can start."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from service.gateway.ray_jobs import Node
from service.runs import order
from service.runs.order import SECOND
from service.runs.preemption import SLICE, Displacement, Running, plan
from service.runs.queue import Line, head_of, why_never
from service.runs.room import Need, Room

MINUTE = 60 * SECOND
NOW = 1_000_000 * MINUTE


class Waiter(NamedTuple):
    place: int
    number: int
    priority: int
    need: Need
    delay: int = 0

    @property
    def arrived(self) -> int:
        return order.arrived(self.place, self.priority, self.delay)


def waiter(number: int, priority: int, need: Need, arrived: int = NOW - MINUTE) -> Waiter:
    return Waiter(order.place(arrived, priority), number, priority, need)


def running(number: int, priority: int, need: Need, arrived: int = NOW - 60 * MINUTE, **facts: object) -> Running:
    usual: dict[str, object] = {"preemptible": True, "began": NOW - 30 * MINUTE}
    return Running(number, order.place(arrived, priority), priority, need, **{**usual, **facts})  # type: ignore[arg-type]


def full(cpus: float = 8, nodes: int = 1) -> list[Node]:
    return [Node(f"n{index}", cpus, 0) for index in range(nodes)]


def asked(
    runs: list[Running], line: list[Waiter], nodes: list[Node] | None = None, drivers: int | None = None
) -> dict[int, set[int]]:
    """By number, who is paused for whom."""
    found = plan(full() if nodes is None else nodes, runs, [], sorted(line), NOW, drivers=drivers)
    return {item.waiter: {run.number for run in item.runs} for item in found}


def test_the_lowest_and_of_these_the_newest_makes_room_and_no_more_than_is_needed() -> None:
    runs = [
        running(1, 20, Need(1, 2)),
        running(2, 20, Need(1, 2), arrived=NOW - 50 * MINUTE),
        running(3, 40, Need(1, 4), arrived=NOW - 40 * MINUTE),
    ]
    assert asked(runs, [waiter(9, 80, Need(1, 2))]) == {9: {2}}
    assert asked(runs, [waiter(9, 80, Need(2, 2))]) == {9: {1, 2}}
    assert asked(runs, [waiter(9, 80, Need(1, 5))]) == {9: {2, 3}}, "4 of the third and 2 of one more are enough"
    assert asked(runs, [waiter(9, 30, Need(1, 5))]) == {}, "the third is no lower, and the others are not enough"


def test_nobody_is_paused_who_does_not_allow_it_or_is_not_lower_or_is_leaving() -> None:
    mine = waiter(9, 50, Need(1, 2))
    for facts in ({"preemptible": False}, {"began": None}):
        assert asked([running(1, 20, Need(1, 2), **facts)], [mine]) == {}, facts
    assert asked([running(1, 50, Need(1, 2))], [mine]) == {}
    leaving = running(1, 20, Need(1, 2), leaving=True)
    assert asked([leaving, running(2, 20, Need(1, 2))], [mine]) == {}, "what is leaving makes room anyway"


def test_age_brings_one_to_its_turn_and_not_at_anothers_expense() -> None:
    old = waiter(9, 20, Need(1, 2), arrived=NOW - 90 * 60 * MINUTE)
    assert order.effective(20, 90 * 3600) == 110
    assert asked([running(1, 20, Need(1, 2))], [old]) == {}


PASSED = running(1, 20, Need(1, 2), arrived=NOW - 70 * 60 * MINUTE, began=NOW - 20 * MINUTE)
"""It came days ago, so it is ahead in line though its priority is low."""


def test_one_that_was_let_pass_is_not_paused_by_who_let_it_pass() -> None:
    """It would come back to its place ahead of the other, and start again."""
    behind = waiter(9, 80, Need(1, 2), arrived=NOW - 30 * MINUTE)
    assert behind.place > PASSED.place
    assert asked([PASSED], [behind]) == {}
    later = waiter(9, 80, Need(1, 2), arrived=NOW - 10 * MINUTE)
    assert asked([PASSED], [later]) == {9: {1}}, "it came when the other was running already"


def test_room_that_a_younger_one_may_have_made_is_for_the_older_of_its_priority() -> None:
    """The older let that run pass, the younger did not: served before, it would have gained by having come late."""
    older = waiter(8, 80, Need(1, 2), arrived=NOW - 30 * MINUTE)
    younger = waiter(9, 80, Need(1, 2), arrived=NOW - 10 * MINUTE)
    assert asked([PASSED], [older]) == {}
    assert asked([PASSED], [older, younger]) == {8: {1}}
    assert asked([PASSED], [older._replace(need=Need(1, 4)), younger]) == {9: {1}}, "of no use to the older"
    too_big = younger._replace(need=Need(1, 100))
    assert asked([PASSED], [older, too_big]) == {}, "it can never start here, so nobody is paused because of it"


def test_one_that_was_paused_before_goes_on_for_a_while_before_it_is_again() -> None:
    again = running(1, 20, Need(1, 2), paused_before=True, began=NOW - 5 * MINUTE)
    mine = waiter(9, 80, Need(1, 2))
    assert asked([again], [mine]) == {}
    assert asked([again._replace(began=NOW - 2 * int(SLICE.total_seconds()) * SECOND)], [mine]) == {9: {1}}
    assert asked([again._replace(paused_before=False)], [mine]) == {9: {1}}


def test_what_is_kept_for_those_ahead_is_not_counted_on() -> None:
    """Two are free and kept for the first, which may have nobody paused; the second needs four of others."""
    node = [Node("n", 8, 2)]
    ahead = waiter(8, 50, Need(1, 4), arrived=NOW - 70 * 60 * MINUTE)
    mine = waiter(9, 80, Need(1, 4))
    small, large = running(1, 60, Need(1, 2)), running(2, 60, Need(1, 4))
    assert ahead.place < mine.place
    assert asked([small], [ahead, mine], node) == {}, "two and the two that are kept for another would do"
    assert asked([small, large], [ahead, mine], node) == {9: {2}}


def test_one_that_counts_as_submitted_later_has_let_pass_what_began_after_it_came_all_the_same() -> None:
    behind = waiter(9, 80, Need(1, 2), arrived=NOW - 30 * MINUTE)
    delayed = behind._replace(place=behind.place + 15 * MINUTE, delay=15 * MINUTE)
    assert PASSED.began is not None
    assert behind.arrived == delayed.arrived < PASSED.began < order.arrived(delayed.place, delayed.priority)
    assert asked([PASSED], [delayed]) == {}


def test_of_several_nodes_a_worker_makes_room_for_what_fits_into_its_own() -> None:
    runs = [running(1, 20, Need(2, 2)), running(2, 20, Need(1, 4), arrived=NOW - 70 * MINUTE)]
    assert asked(runs, [waiter(9, 80, Need(1, 4))], full(8, nodes=2)) == {9: {2}}, "the two twos may be on two nodes"
    assert asked(runs, [waiter(9, 80, Need(1, 4))], full(8)) == {9: {1}}
    assert asked(runs, [waiter(9, 80, Need(4, 1))], full(8, nodes=2)) == {9: {1}}


def test_several_have_room_made_at_once_and_what_is_left_over_serves_the_next() -> None:
    runs = [running(1, 10, Need(1, 4)), running(2, 20, Need(1, 4))]
    line = [waiter(7, 80, Need(1, 3)), waiter(8, 80, Need(1, 1)), waiter(9, 80, Need(1, 4))]
    assert asked(runs, line) == {7: {1}, 9: {2}}, "the second fits beside the first"


def test_one_that_waits_for_memory_on_the_head_has_as_many_paused_as_that_lacks_drivers() -> None:
    idle, mine = [Node("n", 64, 64)], waiter(9, 90, Need(1, 4))
    runs = [running(1, 0, Need(1, 4)), running(2, 10, Need(1, 4))]
    assert asked(runs, [mine], idle, 2) == {9: {1}}
    assert asked(runs, [mine], idle, 3) == {}, "there is room for its driver"
    assert asked(runs, [mine], idle, 1) == {9: {1, 2}}, "the head has one too many already"
    assert asked([runs[0]._replace(leaving=True), runs[1]], [mine], idle, 2) == {}, "that one's place is waited for"
    assert asked(runs, [mine, waiter(8, 90, Need(1, 4))], idle, 2) == {8: {1}, 9: {2}}
    late = runs[0]._replace(late=True)
    assert asked([late], [mine], idle, 1) == {9: {1}}, "its driver has come, whatever its nodes do"
    assert asked([late], [mine], full()[:1], None) == {}, "of CPUs it leaves none"


def test_the_place_on_the_head_that_is_kept_for_one_ahead_is_not_counted_on() -> None:
    node = [Node("n", 8, 2)]
    ahead = waiter(8, 0, Need(1, 4), arrived=NOW - 100 * 60 * MINUTE)
    runs = [running(1, 0, Need(1, 4)), running(2, 0, Need(1, 2), preemptible=False)]
    mine = waiter(9, 90, Need(1, 4))
    assert ahead.place < mine.place
    assert asked(runs, [ahead, mine], node, 3) == {9: {1}}
    assert asked(runs, [ahead, mine], node, 1) == {}, "one that leaves is not enough"


amounts = st.sampled_from([0.0, 1.0, 2.0, 4.0])
needs = st.builds(Need, st.integers(1, 3), st.sampled_from([1.0, 2.0, 4.0]), st.sampled_from([0.0, 0.0, 1.0]))
ages = st.integers(1, 4000).map(lambda minutes: NOW - minutes * MINUTE)
nodes = st.lists(
    st.builds(lambda free, gpus: Node("n", 8, free, 2, gpus), amounts, st.sampled_from([0, 1])), min_size=1, max_size=3
)
runs = st.lists(
    st.builds(
        lambda need, priority, arrived, began, **facts: (need, priority, arrived, began, facts),
        needs, st.integers(0, 100), ages, st.none() | ages,
        preemptible=st.sampled_from([True, True, False]), paused_before=st.booleans(), leaving=st.sampled_from([False, False, True]),
    ),
    max_size=6,
).map(lambda found: [running(i, p, need, at, began=b, **facts) for i, (need, p, at, b, facts) in enumerate(found)])  # fmt: skip
lines = st.lists(st.tuples(st.integers(0, 100), needs, ages), max_size=6).map(
    lambda found: sorted(waiter(100 + i, priority, need, at) for i, (priority, need, at) in enumerate(found))
)


def room(cluster: list[Node], found: list[Running], freed: list[Need], drivers: int | None) -> Line:
    """When those that leave have left, and some more, of whom each freed so much."""
    leaving = [run.need for run in found if run.leaving]
    head = head_of(drivers, len(found) - len(leaving) - len(freed))
    return Line(cluster, [run.need for run in found], [*leaving, *freed], head=head)


heads = st.none() | st.integers(1, 6)


def simulated(
    cluster: list[Node],
    found: list[Running],
    freed: list[Need],
    first: list[Waiter],
    line: list[Waiter],
    drivers: int | None = None,
) -> dict[int, bool]:
    """Of each in line whether it starts with that room, when some come first."""
    queue = room(cluster, found, freed, drivers)
    ahead = {item.number for item in first}
    return {item.number: queue.next(item.need).starts for item in [*first, *(i for i in line if i.number not in ahead)]}


@given(nodes, runs, lines, heads)
@examples(100)
def test_who_is_paused_may_be_and_lets_the_other_start_and_is_needed_for_that(
    cluster: list[Node], found: list[Running], line: list[Waiter], drivers: int | None
) -> None:
    decided = plan(cluster, found, [], line, NOW, drivers=drivers)
    waiters = {item.number: item for item in line}
    freed: list[Need] = []
    first: list[Waiter] = []
    paused: set[int] = set()
    for item in decided:
        mine = waiters[item.waiter]
        before = simulated(cluster, found, freed, first, line, drivers)
        assert not before[mine.number], "it would start without anyone being paused"
        assert item.runs
        assert all(may_be_paused(cluster, run, line) and run.priority < mine.priority for run in item.runs)
        assert paused.isdisjoint(run.number for run in item.runs), "nobody is paused twice"
        paused |= {run.number for run in item.runs}
        for spared in item.runs:
            fewer = [run.need for run in item.runs if run is not spared]
            room_for_it = holds_where_it_stands(cluster, found, freed, first, line, mine, fewer, drivers)
            assert not room_for_it, "one less would do"
        freed += [run.need for run in item.runs]
        first.append(mine)
        after = simulated(cluster, found, freed, first, line, drivers)
        assert all(after[one.number] for one in first), "each that others make room for starts"


def may_be_paused(cluster: list[Node], run: Running, line: list[Waiter]) -> bool:
    """Whether it allows it, was not paused a moment ago, and someone with a higher priority didn't let it pass."""
    if not run.preemptible or run.leaving or run.began is None:
        return False
    if run.paused_before and NOW - run.began < SLICE.total_seconds() * SECOND:
        return False
    possible = [one for one in line if one.priority > run.priority and why_never(cluster, one.need) is None]
    return any(order.arrived(one.place, one.priority) > run.began or one.place <= run.place for one in possible)


minutes = st.integers(1, 90).map(lambda ago: NOW - ago * MINUTE)
let_pass = st.lists(st.tuples(st.integers(3600, 9000), minutes), min_size=1, max_size=4).map(
    lambda found: [
        running(number, 20, Need(1, 4), NOW - ago * MINUTE, began=began) for number, (ago, began) in enumerate(found)
    ]
)
"""Of days ago, so that many stand ahead of what has a higher priority, and began within the time in which that came."""
alike = st.lists(
    st.tuples(st.sampled_from([80, 80, 60]), st.sampled_from([2.0, 4.0]), minutes), min_size=2, max_size=5
).map(
    lambda found: sorted(waiter(100 + i, priority, Need(1, cpus), at) for i, (priority, cpus, at) in enumerate(found))
)


@given(let_pass, alike, heads)
@examples(80)
def test_no_younger_one_has_room_made_before_an_older_that_takes_the_same(
    found: list[Running], line: list[Waiter], drivers: int | None
) -> None:
    cluster = full(4.0 * len(found))
    decided = plan(cluster, found, [], line, NOW, drivers=drivers)
    served = {item.waiter for item in decided}
    freed = [run.need for item in decided for run in item.runs]
    starts = simulated(cluster, found, freed, [one for one in line if one.number in served], line, drivers)
    for index, older in enumerate(line):
        for younger in line[index + 1 :]:
            if younger.number in served and younger.need == older.need and younger.priority <= older.priority:
                assert starts[older.number], "with what is free, or what is made free for it"


def holds_where_it_stands(
    cluster: list[Node], found: list[Running], freed: list[Need], first: list[Waiter], line: list[Waiter], mine: Waiter,
    theirs: list[Need], drivers: int | None,
) -> bool:  # fmt: skip
    """Whether it has a place behind all that are ahead of it, when what these leave is for it alone."""
    queue = room(cluster, found, freed, drivers)
    for item in [*first, *(item for item in line[: line.index(mine)] if item not in first)]:
        if not queue.nothing_for(item.need):
            queue.next(item.need)
    if queue.drivers + len(theirs) <= 0:
        return False
    left = [tuple(node) for node in queue.left.nodes]
    if len(cluster) == 1:
        cpus = left[0][0] + min(queue.used[0][0], sum(need.total_cpus for need in theirs))
        gpus = left[0][1] + min(queue.used[0][1], sum(need.total_gpus for need in theirs))
        return Room([(cpus, gpus)]).holds(mine.need)
    each = [(need.cpus, need.gpus) for need in theirs for _ in range(need.workers)]
    return Room([*((cpus, gpus) for cpus, gpus in left), *each]).holds(mine.need)


@given(nodes, runs, lines, heads)
@examples(80)
def test_what_is_decided_once_is_not_decided_again_while_they_leave(
    cluster: list[Node], found: list[Running], line: list[Waiter], drivers: int | None
) -> None:
    decided: list[Displacement] = plan(cluster, found, [], line, NOW, drivers=drivers)
    going = {run.number for item in decided for run in item.runs}
    promised = [item.waiter for item in decided]
    later = [run._replace(leaving=run.leaving or run.number in going) for run in found]
    ordered = sorted(line, key=lambda item: (item.number not in promised, item))
    again = plan(cluster, later, [], ordered, NOW, drivers=drivers)
    assert not {item.waiter for item in again} & set(promised)
    assert len(decided) == 8 or again == [], "all that helps is decided at once"
