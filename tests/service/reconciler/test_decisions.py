"""The pure decision."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bodies.states import State
from service.gateway.ray_jobs import RayJob, RayStatus
from service.reconciler.decide import (
    Confirm,
    Ended,
    Move,
    StopRay,
    Submit,
    Unreachable,
    View,
    Wait,
    decide_on_ray,
    decide_queued,
)
from service.runs.lifecycle import Trigger, advance
from trainer.wire import FailureKind

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GRACE = timedelta(seconds=60)


def view(**facts: Any) -> View:
    usual: dict[str, Any] = {
        "state": State.RUNNING, "desired": "run", "attempt": 1, "attempts": 3, "confirmed": True, "started": True,
        "outcome": None, "stop_at": None,
    }  # fmt: skip
    return View(**{**usual, **facts})


def ray(status: str, **facts: Any) -> RayJob:
    return RayJob("agon-j-1", RayStatus(status), **facts)


outcomes = st.none() | st.sampled_from(
    [
        {"attempt": 1, "result": "completed"},
        {"attempt": 1, "result": "stopped"},
        *[{"attempt": 1, "result": "failed", "kind": kind.value, "reason": "r"} for kind in FailureKind],
    ]
)
views = st.builds(
    View,
    state=st.sampled_from([State.STARTING, State.RUNNING, State.STOPPING]),
    desired=st.sampled_from(["run", "stop", "pause"]),
    attempt=st.integers(1, 4),
    attempts=st.integers(1, 4),
    confirmed=st.booleans(),
    started=st.booleans(),
    outcome=outcomes,
    stop_at=st.none() | st.sampled_from([NOW - GRACE, NOW + GRACE]),
    waiting=st.sampled_from(["", "needs 2 CPUs"]),
    yields_to=st.sampled_from(["", "j-0"]),
).filter(lambda item: item.state is not State.STOPPING or item.leaving)
seen = (
    st.none()
    | st.just(Unreachable("Ray is away"))
    | st.sampled_from([RayStatus.PENDING, RayStatus.RUNNING]).map(lambda status: RayJob("x", status))
    | st.sampled_from([RayStatus.STOPPED, RayStatus.SUCCEEDED, RayStatus.FAILED]).map(
        lambda status: Ended(RayJob("x", status))
    )
)


@given(views, seen)
def test_every_decision_is_legal_and_safe(view: View, seen: Any) -> None:
    action = decide_on_ray(view, seen, NOW, GRACE)
    if isinstance(action, Move):
        advance(view.state, action.trigger)  # raises if the table doesn't allow it
        if action.trigger is Trigger.RETRY:
            assert view.attempt < view.attempts
            assert not view.leaving
            assert not isinstance(seen, RayJob | Unreachable), "the old driver must be gone before the next one starts"
        if action.trigger is Trigger.FAIL:
            assert action.failure is not None
            assert action.reason
        if action.failure is not None:
            assert action.trigger is Trigger.FAIL
        if action.trigger is Trigger.PAUSE:
            assert view.desired == "pause"
            assert not isinstance(seen, RayJob | Unreachable), "resuming must not find the old driver at work"
        if action.trigger is Trigger.CANCEL:
            assert view.desired != "pause"
        if action.trigger is Trigger.YIELD:
            assert (view.desired, view.yields_to) == ("run", "j-0"), "what people want comes before that"
            assert not isinstance(seen, RayJob | Unreachable), "its next attempt must not find the old driver at work"
    if isinstance(action, Submit):
        assert seen is None
        assert not view.confirmed, "what Ray took once is never handed over again"
        assert not view.leaving
    if isinstance(action, StopRay):
        assert isinstance(seen, RayJob)
        assert view.leaving or view.outcome is not None
    if isinstance(seen, Unreachable) and view.outcome is None:
        assert isinstance(action, Wait), "without Ray and without the job's own word nothing is concluded"


@given(views, seen)
def test_what_shall_end_never_begins_anything(view: View, seen: Any) -> None:
    if view.leaving:
        action = decide_on_ray(view, seen, NOW, GRACE)
        assert not isinstance(action, Submit)
        assert not (isinstance(action, Move) and action.trigger in (Trigger.START, Trigger.RETRY, Trigger.ADMIT))


@given(st.sampled_from(["run", "stop", "pause"]), st.integers(0, 3), st.sampled_from(["", "j-0"]))
def test_a_queued_job_leaves_the_queue_only_if_it_shall_not_run(desired: Any, attempt: int, room: str) -> None:
    action = decide_queued(view(state=State.QUEUED, desired=desired, attempt=attempt, yields_to=room))
    if desired == "run":
        assert action is None
    else:
        assert action is not None
        assert action.trigger is (Trigger.PAUSE if desired == "pause" else Trigger.CANCEL)


def test_a_cancelled_job_gets_its_grace_period_then_ray_stops_it() -> None:
    asked = decide_on_ray(view(desired="stop"), ray("RUNNING"), NOW, GRACE)
    assert isinstance(asked, Move)
    assert (asked.trigger, asked.grace) == (Trigger.STOP, GRACE)
    stopping = {"state": State.STOPPING, "desired": "stop"}
    assert isinstance(decide_on_ray(view(**stopping, stop_at=NOW + GRACE), ray("RUNNING"), NOW, GRACE), Wait)
    assert isinstance(decide_on_ray(view(**stopping, stop_at=NOW), ray("RUNNING"), NOW, GRACE), StopRay)
    gone = decide_on_ray(view(**stopping, stop_at=NOW), Ended(ray("STOPPED")), NOW, GRACE)
    assert isinstance(gone, Move)
    assert gone.trigger is Trigger.CANCEL


def test_a_search_that_stopped_is_paused_when_its_driver_is_gone_and_ray_helps_if_it_stays() -> None:
    told = {"attempt": 1, "result": "stopped"}
    facts = {"state": State.STOPPING, "desired": "pause", "outcome": told, "stop_at": NOW + GRACE}
    assert isinstance(decide_on_ray(view(**facts), ray("RUNNING"), NOW, GRACE), Wait)
    assert isinstance(decide_on_ray(view(**facts), ray("RUNNING"), NOW + GRACE, GRACE), StopRay)
    for gone in (Ended(ray("SUCCEEDED")), None):
        assert decide_on_ray(view(**facts), gone, NOW, GRACE) == Move(Trigger.PAUSE, "paused")
    early = decide_on_ray(view(**{**facts, "state": State.RUNNING}), ray("RUNNING"), NOW, GRACE)
    assert early == Move(Trigger.STOP, "paused: saves a checkpoint and ends", grace=GRACE)


@pytest.mark.parametrize("seen", [Ended(ray("FAILED", exit_code=-9)), Ended(ray("STOPPED")), None])
@pytest.mark.parametrize("state", [State.RUNNING, State.STOPPING])
def test_a_pause_whose_driver_ends_without_a_word_holds_and_says_what_is_lost(seen: Any, state: State) -> None:
    action = decide_on_ray(view(state=state, desired="pause", attempts=9), seen, NOW, GRACE)
    assert isinstance(action, Move)
    assert action.trigger is Trigger.PAUSE
    assert "goes on from its newest checkpoint" in action.reason
    cancelled = decide_on_ray(view(state=state, desired="stop", attempts=9), seen, NOW, GRACE)
    assert cancelled == Move(Trigger.CANCEL, "cancelled")


@pytest.mark.parametrize(
    ("desired", "trigger", "reason"),
    [
        ("run", Trigger.YIELD, "paused for j-0, which has priority 80"),
        ("pause", Trigger.PAUSE, "paused"),
        ("stop", Trigger.CANCEL, "cancelled"),
    ],
)
def test_what_makes_room_waits_again_unless_someone_wants_it_otherwise(
    desired: Any, trigger: Trigger, reason: str
) -> None:
    told = {"attempt": 1, "result": "stopped"}
    facts = {"desired": desired, "yields_to": "j-0", "yields_priority": 80}
    first = decide_on_ray(view(**facts), ray("RUNNING"), NOW, GRACE)
    assert first == Move(Trigger.STOP, f"{reason}: saves a checkpoint and ends", grace=GRACE)
    stopping = view(**facts, state=State.STOPPING, outcome=told)
    assert decide_on_ray(stopping, Ended(ray("SUCCEEDED")), NOW, GRACE) == Move(trigger, reason)


def test_a_job_that_has_not_begun_to_train_is_stopped_without_grace() -> None:
    action = decide_on_ray(view(state=State.STARTING, started=False, desired="stop"), ray("PENDING"), NOW, GRACE)
    assert isinstance(action, Move)
    assert action.grace == timedelta()


@pytest.mark.parametrize(("started", "kind"), [(True, FailureKind.WORKER_LOST), (False, FailureKind.START_FAILED)])
def test_a_driver_that_died_without_a_word_is_classed_and_its_last_lines_are_told(
    started: bool, kind: FailureKind
) -> None:
    dead = Ended(ray("FAILED", exit_code=-9), "ImportError: no module named x")
    action = decide_on_ray(view(started=started, attempt=3), dead, NOW, GRACE)
    assert isinstance(action, Move)
    assert (action.trigger, action.failure) == (Trigger.FAIL, kind)
    assert "exit code -9" in action.reason
    assert "ImportError: no module named x" in action.reason
    assert "attempt 3 of 3" in action.reason


def test_the_documents_name_every_kind_of_failure_and_say_whether_it_is_tried_again() -> None:
    lines = (Path(__file__).parents[3] / "docs" / "lifecycle.md").read_text().splitlines()
    rows = [line.split("|")[1:4] for line in lines if line.startswith("| `")]
    for kind in FailureKind:
        [again] = [again for kinds, _, again in rows if f"`{kind}`" in kinds]
        assert ("retry.attempts" in again) == kind.retryable, kind


@pytest.mark.parametrize("kind", list(FailureKind))
def test_only_failures_that_may_end_differently_are_tried_again(kind: FailureKind) -> None:
    told = {"attempt": 1, "result": "failed", "kind": kind.value, "reason": "why"}
    action = decide_on_ray(view(outcome=told), Ended(ray("FAILED")), NOW, GRACE)
    assert isinstance(action, Move)
    assert action.trigger is (Trigger.RETRY if kind.retryable else Trigger.FAIL)
    assert "why" in action.reason


def test_pauses_between_attempts_grow_to_a_limit() -> None:
    delays = []
    for attempt in (1, 2, 3, 50):
        action = decide_on_ray(view(attempt=attempt, attempts=100), None, NOW, GRACE)
        assert isinstance(action, Move)
        delays.append(action.delay.total_seconds())
    assert delays == [1, 2, 4, 30]


def test_an_unsure_submission_that_ray_has_is_confirmed_not_repeated() -> None:
    assert (
        decide_on_ray(view(state=State.STARTING, confirmed=False, started=False), ray("PENDING"), NOW, GRACE)
        == Confirm()
    )
