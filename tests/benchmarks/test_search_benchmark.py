"""Where the search benchmark says that the time of its slots went."""

import pytest

from benchmarks.search import Slots, slots


def test_the_parts_of_the_slots_time_are_their_sum() -> None:
    # Two slots from 0 to 100: the first trains from 10 to 40 and from 44 to 80, the second from 12 to 50 and from 51 to 95.
    lives = [(10.0, 40.0), (12.0, 50.0), (44.0, 80.0), (51.0, 95.0)]
    found = slots(lives, 0.0, 100.0, 2)
    assert found == Slots(trained=148.0, between=5.0, begin=22.0, end=25.0)
    assert found.trained + found.between + found.begin + found.end == 200.0


def test_slots_that_idle_when_nobody_is_left_to_start_cost_no_trial_anything() -> None:
    assert slots([(0.0, 10.0), (0.0, 90.0)], 0.0, 90.0, 2) == Slots(trained=100.0, between=0.0, begin=0.0, end=80.0)


def test_one_slot_has_gaps_between_its_trials() -> None:
    assert slots([(5.0, 10.0), (13.0, 20.0)], 0.0, 21.0, 1).between == pytest.approx(3.0)
