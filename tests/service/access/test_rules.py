"""The table of who may do what, without an API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.access import expiry
from service.access.rules import ROLES, Action, action_of, least, may, may_change, may_grant
from service.access.tokens import Principal, Scope
from service.bodies.tokens import Rotation, TokenRequest
from service.errors import Problem
from service.settings import Settings

NAMES = st.sampled_from(["ada", "bob", "Ada", "ad", "adab"])
SCOPES, PEOPLE, ACTIONS = st.sampled_from(list(Scope)), st.sampled_from(ROLES), st.sampled_from(list(Action))


@given(SCOPES, ACTIONS)
def test_a_job_reports_and_nothing_else_and_nobody_else_reports(scope: Scope, action: Action) -> None:
    assert may(scope, action) == (action is Action.REPORT) or scope is not Scope.JOB
    assert scope is Scope.JOB or not may(scope, Action.REPORT)


@given(PEOPLE, PEOPLE, ACTIONS, NAMES, NAMES)
def test_a_higher_role_may_all_that_a_lower_one_may(
    low: Scope, high: Scope, action: Action, me: str, owner: str
) -> None:
    low, high = sorted((low, high), key=ROLES.index)
    assert may(high, action) or not may(low, action)
    assert may_change(high, me, owner) or not may_change(low, me, owner)


@given(SCOPES, NAMES, NAMES | st.just(""))
def test_a_change_is_for_its_owner_and_administrators(scope: Scope, me: str, owner: str) -> None:
    expected = scope is Scope.ADMIN or (scope is Scope.USER and owner in ("", me))
    assert may_change(scope, me, owner) == expected


@given(SCOPES, SCOPES, NAMES, NAMES)
def test_nobody_grants_more_than_they_have_nor_to_others(scope: Scope, granted: Scope, me: str, owner: str) -> None:
    if may_grant(scope, me, granted, owner):
        assert ROLES.index(granted) <= ROLES.index(scope)
        assert scope is Scope.ADMIN or (owner == me and scope is Scope.USER)


@given(st.sampled_from(["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "QUERY"]), st.text(max_size=30))
def test_a_route_that_nobody_thought_of_is_a_change_unless_it_reads(method: str, path: str) -> None:
    expected = Action.READ if method in ("GET", "HEAD", "OPTIONS") else Action.CHANGE
    assert action_of(method, f"/v2/{path}") == expected


@given(SCOPES, PEOPLE | st.none())
def test_a_role_takes_away_and_never_gives(scope: Scope, role: Scope | None) -> None:
    bound = least(scope, role)
    assert bound in (scope, role)
    if scope in ROLES:
        assert ROLES.index(bound) <= ROLES.index(scope)
    else:
        assert bound is scope


NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = st.integers(1, 400)


@given(
    days=DAYS | st.none(),
    wish=DAYS | st.none(),
    bound=DAYS | st.none(),
    scope=st.sampled_from([Scope.USER, Scope.ADMIN]),
)
def test_a_new_token_ends_as_asked_and_never_later_than_may_be(
    days: int | None, wish: int | None, bound: int | None, scope: Scope
) -> None:
    ends = None if bound is None else NOW + timedelta(days=bound)
    caller = Principal("t-1", "ada", "ada", scope, token_ends_at=ends)
    settings = Settings(home="/nowhere", token_days=days)
    asked = TokenRequest(name="x", expires_in=None if wish is None else f"{wish}d")
    bounds = [most for most in (days, bound if scope is Scope.USER else None) if most is not None]
    try:
        found = expiry.of_new(asked, settings, caller, NOW)
    except Problem:
        assert wish is not None
        assert wish > min(bounds)
        return
    expected = min(bounds) if wish is None and bounds else wish
    assert found == (None if expected is None else NOW + timedelta(days=expected))


@given(
    days=DAYS | st.none(), wish=DAYS | st.none(), has=st.integers(-5, 400) | st.none(), bound=DAYS | st.none(), own=st.booleans(),
)  # fmt: skip
def test_a_user_can_not_have_a_secret_that_outlives_what_they_had(
    days: int | None, wish: int | None, has: int | None, bound: int | None, own: bool
) -> None:
    bound = has if own else bound
    ends = None if bound is None else NOW + timedelta(days=bound)
    had = None if has is None else NOW + timedelta(days=has)
    caller = Principal("t-1", "ada", "ada", Scope.USER, token_ends_at=ends)
    asked = Rotation(expires_in=None if wish is None else f"{wish}d")
    try:
        found = expiry.of_rotated(asked, had, Settings(home="/nowhere", token_days=days), caller, own, NOW)
    except Problem:
        return
    for latest in (had, ends, None if days is None else NOW + timedelta(days=days)):
        assert latest is None or (found is not None and found <= latest)
    assert found is None or found > NOW


@pytest.mark.parametrize(
    "body", [{"expires_in": "1d", "expires_at": NOW}, {"expires_in": 0}, {"expires_in": -1}, {"expires_in": "soon"},
             {"expires_in": float("nan")}, {"expires_at": "2026-03-01T00:00:00"}, {"overlap": -1}, {"overlap": "40d"}],
)  # fmt: skip
def test_times_that_say_nothing_are_refused(body: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Rotation.model_validate(body)


def test_a_time_that_is_over_is_refused_with_the_fix() -> None:
    asked = TokenRequest(name="x", expires_at=NOW - timedelta(seconds=1))
    with pytest.raises(Problem) as refused:
        expiry.of_new(asked, Settings(home="/nowhere"), Principal("t-1", "ada", "ada", Scope.ADMIN), NOW)
    assert (refused.value.errors[0].path, refused.value.errors[0].fix) == ("expires_at", "use a time that lies ahead")
