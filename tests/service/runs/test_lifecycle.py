"""The lifecycle table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bodies.states import State
from service.runs.lifecycle import TABLE, IllegalTransitionError, Trigger, advance

AGAIN = {Trigger.RESUME, Trigger.EXTEND, Trigger.TRY_AGAIN}
"""What puts a run that has ended, or is paused, back into the queue."""


@given(st.lists(st.sampled_from(Trigger), max_size=30))
def test_any_interleaving_of_triggers_only_takes_steps_of_the_table_and_ended_runs_go_on_only_when_someone_asks(
    triggers: list[Trigger],
) -> None:
    state = State.SUBMITTED
    for trigger in triggers:
        before = state
        try:
            state = advance(state, trigger)
        except IllegalTransitionError:
            assert trigger not in TABLE[before]
            assert state is before
        else:
            assert TABLE[before][trigger] is state
            assert not before.ended or trigger in AGAIN, "something happened to an ended run"
            if trigger in AGAIN:
                assert state is State.QUEUED, "it waits for its turn like any other"
                assert not before.on_ray


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.CANCELLED])
@pytest.mark.parametrize("trigger", [trigger for trigger in Trigger if trigger not in AGAIN])
def test_nothing_moves_what_has_ended(state: State, trigger: Trigger) -> None:
    with pytest.raises(IllegalTransitionError, match=f"is {state}"):
        advance(state, trigger)


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.CANCELLED])
def test_what_did_not_fail_is_extended_and_not_resumed(state: State) -> None:
    assert advance(state, Trigger.EXTEND) is State.QUEUED
    with pytest.raises(IllegalTransitionError, match="can't resume"):
        advance(state, Trigger.RESUME)


def test_every_state_is_reachable_and_every_live_one_can_still_end() -> None:
    reached, frontier = {State.SUBMITTED}, [State.SUBMITTED]
    while frontier:
        for following in TABLE[frontier.pop()].values():
            if following not in reached:
                reached.add(following)
                frontier.append(following)
    assert reached == set(State)
    for state in State:
        assert state.ended == (set(TABLE[state]) <= AGAIN)
        assert state.ended or Trigger.CANCEL in TABLE[state]


def test_only_what_is_paused_or_has_failed_is_resumed_and_it_is_not_on_the_cluster() -> None:
    assert [state for state in State if Trigger.RESUME in TABLE[state]] == [State.PAUSED, State.FAILED]
    assert not State.PAUSED.on_ray
    assert not State.PAUSED.ended


@pytest.mark.parametrize("state", list(State))
def test_whatever_has_not_ended_can_be_paused_and_what_is_paused_goes_on_or_is_cancelled_and_nothing_else(
    state: State,
) -> None:
    if state.ended or state is State.PAUSED:
        assert Trigger.PAUSE not in TABLE[state]
    else:
        assert advance(advance(state, Trigger.PAUSE), Trigger.RESUME) is State.QUEUED
    assert TABLE[State.PAUSED] == {
        Trigger.RESUME: State.QUEUED,
        Trigger.EXTEND: State.QUEUED,
        Trigger.CANCEL: State.CANCELLED,
    }


def test_only_what_has_failed_or_was_cancelled_is_tried_again() -> None:
    assert [state for state in State if Trigger.TRY_AGAIN in TABLE[state]] == [State.FAILED, State.CANCELLED]


def test_a_stopping_job_goes_on_by_itself_only_if_it_made_room_for_another() -> None:
    assert {trigger for trigger, state in TABLE[State.STOPPING].items() if not state.ended} == {
        Trigger.PAUSE,
        Trigger.YIELD,
    }


@pytest.mark.parametrize("state", list(State))
def test_what_makes_room_was_on_the_cluster_and_waits_for_its_turn_again(state: State) -> None:
    assert (Trigger.YIELD in TABLE[state]) == state.on_ray
    if state.on_ray:
        assert advance(state, Trigger.YIELD) is State.QUEUED


@pytest.mark.parametrize("state", [State.SUBMITTED, State.QUEUED])
def test_a_job_that_is_not_on_the_cluster_can_neither_run_nor_fail(state: State) -> None:
    assert {Trigger.START, Trigger.FAIL, Trigger.COMPLETE, Trigger.STOP}.isdisjoint(TABLE[state])
