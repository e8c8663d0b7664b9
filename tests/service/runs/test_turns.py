"""Priority with ageing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.runs.order import MOST_SKEW, SECOND, arrival, arrived, effective, place

MOMENTS = st.integers(0, 4_000_000_000 * SECOND)
PRIORITIES = st.integers(0, 100)


@given(MOMENTS, PRIORITIES, MOMENTS, PRIORITIES, MOMENTS)
def test_the_order_is_that_of_the_effective_priorities_whenever_one_looks(
    first: int, high: int, second: int, low: int, later: int
) -> None:
    now = max(first, second) + later
    one, other = (effective(p, (now - at) / SECOND) for at, p in ((first, high), (second, low)))
    if abs(one - other) > 1e-6:  # of a floating-point hour
        assert (place(first, high) < place(second, low)) == (one > other)


@given(PRIORITIES, MOMENTS, MOMENTS)
def test_of_one_priority_the_longest_waiter_is_first(priority: int, one: int, other: int) -> None:
    assert (place(one, priority) < place(other, priority)) == (one < other)


@given(PRIORITIES, PRIORITIES, MOMENTS)
def test_nobody_is_passed_by_one_that_came_more_than_a_hundred_hours_later(mine: int, theirs: int, at: int) -> None:
    assert place(at, mine) <= place(at + 100 * 3600 * SECOND, theirs)


@given(PRIORITIES, PRIORITIES, MOMENTS)
def test_another_priority_keeps_the_arrival(before: int, after: int, at: int) -> None:
    assert arrived(place(arrived(place(at, before), before), after), after) == at


@given(st.lists(st.timedeltas(timedelta(seconds=-3000), timedelta(seconds=3000)), max_size=8))
def test_who_comes_later_has_arrived_later_though_a_clock_is_set_back_or_machines_differ(
    skews: list[timedelta],
) -> None:
    noon, newest, seen = datetime(2026, 3, 1, 12, tzinfo=UTC), None, []
    for index, skew in enumerate(skews):
        newest = arrival(noon + timedelta(seconds=index) + skew / 2, newest)
        seen.append(newest)
    assert seen == sorted(seen)


def test_a_clock_that_was_years_ahead_once_is_not_believed() -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    mine = int(now.timestamp()) * SECOND
    assert arrival(now, mine + 10 * MOST_SKEW) == mine
    assert arrival(now, mine + MOST_SKEW) == mine + MOST_SKEW
    assert arrival(now, None) == mine


def test_a_priority_out_of_its_range_has_no_place() -> None:
    with pytest.raises(ValueError, match=r"0\.\.100"):
        place(0, 101)
