"""The lifecycle table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs.lifecycle import TABLE, IllegalTransitionError, State, Trigger, advance


@given(st.lists(st.sampled_from(Trigger), max_size=30))
def test_any_interleaving_of_triggers_only_takes_steps_of_the_table_and_ended_jobs_stay_ended(
    triggers: list[Trigger],
) -> None:
    state, ended = State.SUBMITTED, None
    for trigger in triggers:
        before = state
        try:
            state = advance(state, trigger)
        except IllegalTransitionError:
            assert trigger not in TABLE[before]
            assert state is before
        else:
            assert ended is None, "something happened to an ended job"
            assert TABLE[before][trigger] is state
        ended = ended or (state if state.ended else None)
        assert ended is None or state is ended


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.CANCELLED])
@pytest.mark.parametrize("trigger", list(Trigger))
def test_nothing_moves_an_ended_job(state: State, trigger: Trigger) -> None:
    with pytest.raises(IllegalTransitionError, match=f"is {state}"):
        advance(state, trigger)


def test_every_state_is_reachable_and_every_live_one_can_still_end() -> None:
    reached, frontier = {State.SUBMITTED}, [State.SUBMITTED]
    while frontier:
        for following in TABLE[frontier.pop()].values():
            if following not in reached:
                reached.add(following)
                frontier.append(following)
    assert reached == set(State)
    for state in State:
        assert state.ended == (not TABLE[state])
        assert state.ended or Trigger.CANCEL in TABLE[state]


def test_a_stopping_job_is_never_started_again() -> None:
    assert set(TABLE[State.STOPPING].values()) == {State.SUCCEEDED, State.FAILED, State.CANCELLED}


@pytest.mark.parametrize("state", [State.SUBMITTED, State.QUEUED])
def test_a_job_that_is_not_on_the_cluster_can_neither_run_nor_fail(state: State) -> None:
    assert {Trigger.START, Trigger.FAIL, Trigger.COMPLETE, Trigger.STOP}.isdisjoint(TABLE[state])
