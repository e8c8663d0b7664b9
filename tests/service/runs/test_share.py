"""A fair share within a priority: bounded, fixed at submission, by load, and never against the order of one owner's own runs."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from properties import examples

from service.runs import order, share
from service.runs.order import POINT, SECOND
from service.runs.share import Amount, Load

NOW = 1_800_000_000 * SECOND
HOURS = st.floats(0, 1e6)
MOST = st.floats(0.5, 1000)
AMOUNTS = st.builds(Amount, HOURS, HOURS)
SIZES = st.builds(Amount, st.integers(1, 4096).map(float), st.integers(0, 512).map(float))


class Run(NamedTuple):
    place: int
    number: int
    owner: str
    priority: int
    delay: int


class Queue:
    """What submissions make of it, as `service.runs.store` does."""

    def __init__(self, size: float, most: float) -> None:
        self.size, self.most, self.runs, self.number = Amount(size), most, list[Run](), 0
        self.cpus: dict[int, float] = {}

    def submit(self, owner: str, arrived: int, cpus: float = 1.0, used: float = 0.0, priority: int = 50) -> Run:
        mine = [run for run in self.runs if run.owner == owner]
        held = Amount(sum(self.cpus[run.number] for run in mine if run.priority >= priority))
        alike = [run for run in mine if run.priority == priority]
        newest = max((order.arrived(run.place, run.priority) for run in alike), default=None)
        latest = max((run.delay for run in alike), default=0)
        delay = share.delay(share.load(self.size, Amount(used), held), self.most)
        delay = share.behind_own(delay, arrived, newest, latest)
        self.number += 1
        run = Run(order.place(arrived, priority, delay), self.number, owner, priority, delay)
        self.runs.append(run)
        self.cpus[run.number] = cpus
        return run

    @property
    def line(self) -> list[Run]:
        return sorted(self.runs)


SUBMISSIONS = st.lists(
    st.tuples(
        st.sampled_from("ab"), st.sampled_from([50, 50, 80]), st.integers(0, 30), st.sampled_from([1.0, 8.0]),
        st.floats(0, 500), st.booleans(),
    ),
    max_size=25,
)  # fmt: skip


@given(SIZES, AMOUNTS, AMOUNTS, MOST)
def test_the_delay_is_bounded_and_nothing_used_or_held_means_none(
    size: Amount, used: Amount, held: Amount, most: float
) -> None:
    load = share.load(size, used, held)
    assert 0 <= share.delay(load, most) <= most * POINT
    assert share.delay(load, 0) == 0, "switched off"
    assert share.delay(share.load(size, Amount(), Amount()), most) == 0
    assert share.load(Amount(), used, held) == Load(), "a cluster that has nothing"


@given(SIZES, AMOUNTS, AMOUNTS, HOURS, HOURS, MOST)
def test_who_used_or_holds_more_is_delayed_no_less(
    size: Amount, used: Amount, held: Amount, cpus: float, gpus: float, most: float
) -> None:
    before = share.delay(share.load(size, used, held), most)
    more = Amount(used.cpus + cpus, used.gpus + gpus)
    assert share.delay(share.load(size, more, held), most) >= before
    assert share.delay(share.load(size, used, Amount(held.cpus + cpus, held.gpus + gpus)), most) >= before


@given(st.lists(st.tuples(st.floats(0, 5000), HOURS), max_size=10), st.floats(0, 5000))
def test_what_was_used_counts_less_by_the_hour_and_half_after_a_week(
    used: list[tuple[float, float]], later: float
) -> None:
    now, then = share.decayed(used), share.decayed((ago + later, amount) for ago, amount in used)
    assert then == pytest.approx(now * 0.5 ** (later / (7 * 24)), rel=1e-6, abs=1e-9)


@given(SUBMISSIONS, MOST)
@examples(100)
def test_of_one_owner_and_priority_nobody_passes_an_older_one_and_no_delay_is_beyond_the_most(
    submissions: list[tuple[str, int, int, float, float, bool]], most: float
) -> None:
    queue, now = Queue(8, most), NOW
    for owner, priority, minutes, cpus, used, ends in submissions:
        now += minutes * 60 * SECOND
        if ends and queue.runs:
            queue.runs.pop(0)
        run = queue.submit(owner, now, cpus, used, priority)
        assert run.delay <= most * POINT
    for run in queue.line:
        older = [one for one in queue.runs if (one.owner, one.priority) == (run.owner, run.priority)]
        assert all((one.place, one.number) < (run.place, run.number) for one in older if one.number < run.number)


@given(SUBMISSIONS, st.sampled_from([1.0, 24.0]))
@examples(100)
def test_nobody_is_passed_by_one_of_their_priority_that_came_later_by_the_most_or_more(
    submissions: list[tuple[str, int, int, float, float, bool]], most: float
) -> None:
    queue, now, arrived = Queue(8, most), NOW, dict[int, int]()
    for owner, priority, minutes, cpus, used, _ in submissions:
        now += 5 * minutes * 60 * SECOND
        arrived[queue.submit(owner, now, cpus, used, priority).number] = now
    line = queue.line
    for index, run in enumerate(line):
        for one in line[:index]:
            if one.priority == run.priority:
                assert arrived[one.number] - arrived[run.number] <= most * POINT


@given(st.integers(1, 30), st.sampled_from([1.0, 2.0, 8.0]), st.sampled_from([8.0, 24.0]))
def test_two_who_submit_a_batch_each_take_turns(count: int, cpus: float, most: float) -> None:
    queue = Queue(8, most)
    for index in range(2 * count):
        queue.submit("a" if index < count else "b", NOW + index * SECOND // 1000, cpus)
    assert [run.owner for run in queue.line] == ["a", "b"] * count


@given(st.integers(20, 200), st.integers(1, 6), st.integers(1, 8))
def test_who_comes_hours_after_a_hundred_runs_of_one_is_behind_few_of_them(count: int, hours: int, cpus: int) -> None:
    queue = Queue(8, 24.0)
    for index in range(count):
        queue.submit("a", NOW + index * SECOND // 1000, cpus)
    mine = queue.submit("b", NOW + hours * POINT)
    ahead = sum(queue.cpus[run.number] for run in queue.line[: queue.line.index(mine)])
    fills = hours / (1 - hours / 24)  # by as many hours a load of so many is delayed
    assert ahead <= 8 * fills + cpus


@given(st.lists(st.tuples(st.integers(0, 3600), st.floats(0, 100)), min_size=1, max_size=20))
def test_who_is_alone_sees_the_order_in_which_they_came(runs: list[tuple[int, float]]) -> None:
    queue, now = Queue(8, 24.0), NOW
    for seconds, used in runs:
        now += seconds * SECOND
        queue.submit("a", now, used=used)
    assert [run.number for run in queue.line] == list(range(1, len(runs) + 1))


def test_ones_own_batch_of_a_lower_priority_delays_no_urgent_run() -> None:
    queue = Queue(8, 24.0)
    for index in range(100):
        queue.submit("a", NOW + index, 8.0)
    urgent = queue.submit("a", NOW + 1000, 8.0, priority=55)
    assert urgent.delay == 0
    assert queue.line[0] == urgent


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 24 * POINT))
def test_another_priority_keeps_the_delay_and_the_arrival(before: int, after: int, delay: int) -> None:
    place = order.place(NOW, before, delay)
    assert order.arrived(place, before, delay) == NOW
    moved = order.place(order.arrived(place, before, delay), after, delay)
    assert moved - order.place(NOW, after) == delay


@given(HOURS, HOURS, SIZES)
def test_of_cpus_and_gpus_that_counts_of_which_it_is_more(cpus: float, gpus: float, size: Amount) -> None:
    assume(size.gpus > 0)
    assert share.load(size, Amount(cpus, gpus), Amount()).used == max(cpus / size.cpus, gpus / size.gpus)


def test_the_table_in_the_document() -> None:
    queue, nine = Queue(16, 24.0), NOW
    minute = 60 * SECOND
    for _ in range(4):
        queue.submit("ada", nine, 8.0)
    queue.submit("cy", nine + 5 * minute, 8.0, used=64.0)
    for _ in range(2):
        queue.submit("bob", nine + 10 * minute, 8.0)
    counts = [(run.owner, (order.arrived(run.place, run.priority) - nine) // minute) for run in queue.line]
    rows = [("ada", 0), ("bob", 10), ("ada", 29), ("bob", 39), ("ada", 57), ("ada", 84), ("cy", 210)]
    assert counts == rows
