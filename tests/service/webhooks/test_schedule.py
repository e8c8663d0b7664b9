"""When a message is sent again: the schedule of Standard Webhooks 1.0, and what receivers ask for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.webhooks.schedule import BUSY, BUSY_SECONDS, DELAYS, LONGEST_WAIT, Answer, judge
from service.webhooks.sending import retry_after

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
jitters = st.floats(0, 1, exclude_max=True)
failures = st.builds(
    Answer,
    status=st.none() | st.integers(100, 599).filter(lambda status: status // 100 != 2 and status != 410),
    retry_after=st.none() | st.floats(0, 1e12),
)


def test_the_delays_are_those_of_the_specification() -> None:
    minute, hour = timedelta(minutes=1), timedelta(hours=1)
    after = [
        0 * minute,
        timedelta(seconds=5),
        5 * minute,
        30 * minute,
        *(hours * hour for hours in (2, 5, 10, 14, 20, 24)),
    ]
    assert [timedelta(seconds=delay) for delay in DELAYS] == after
    assert sum(DELAYS) == timedelta(hours=75, minutes=35, seconds=5).total_seconds()


@given(st.lists(st.tuples(failures, jitters), min_size=len(DELAYS), max_size=len(DELAYS)))
def test_whatever_is_answered_there_are_ten_attempts_and_none_comes_sooner_than_it_may(
    answers: list[tuple[Answer, float]],
) -> None:
    for attempts, (answer, jitter) in enumerate(answers, 1):
        verdict = judge(attempts, answer, jitter)
        assert (verdict.delivered, verdict.gone) == (False, False)
        if attempts == len(DELAYS):
            assert verdict.wait is None
            continue
        assert verdict.wait is not None
        assert DELAYS[attempts] <= verdict.wait
        assert verdict.wait <= max(DELAYS[attempts] * 1.1, verdict.quiet or 0.0) + 1e-6
        if answer.status == 429 and answer.retry_after is not None:
            assert verdict.wait >= min(answer.retry_after, LONGEST_WAIT)
        assert verdict.quiet is None or 0 <= verdict.quiet <= LONGEST_WAIT


@given(st.integers(1, 20), st.integers(200, 299), jitters)
def test_any_2xx_is_the_end_of_it(attempts: int, status: int, jitter: float) -> None:
    verdict = judge(attempts, Answer(status), jitter)
    assert (verdict.delivered, verdict.wait, verdict.quiet, verdict.gone) == (True, None, None, False)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_has_failed_and_says_that_it_is_not_followed(status: int) -> None:
    assert judge(1, Answer(status), 0.0).wait == 5.0
    assert "not followed" in Answer(status).why


def test_gone_ends_the_webhook_at_once() -> None:
    verdict = judge(1, Answer(410, retry_after=5.0), 0.0)
    assert (verdict.gone, verdict.wait, verdict.delivered) == (True, None, False)


@pytest.mark.parametrize("status", BUSY)
def test_a_receiver_that_has_too_much_to_do_is_left_alone_for_as_long_as_it_asks(status: int) -> None:
    assert judge(1, Answer(status), 0.0).quiet == BUSY_SECONDS
    assert judge(1, Answer(status, retry_after=120.0), 0.0).wait == 120.0
    assert judge(4, Answer(status, retry_after=120.0), 0.0).wait == DELAYS[4]
    assert judge(1, Answer(status, retry_after=1e9), 0.0).wait == LONGEST_WAIT


def test_other_failures_ask_for_nothing() -> None:
    for answer in (Answer(500, retry_after=9.0), Answer(404), Answer(None, "no answer"), Answer(503)):
        assert judge(1, answer, 0.0).quiet is None
    assert judge(1, Answer(503, retry_after=9.0), 0.0).quiet == 9.0


def test_a_test_is_tried_once() -> None:
    assert judge(1, Answer(500), 0.0, most=1).wait is None


@pytest.mark.parametrize(
    ("given_", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("9" * 40, 999999999999.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(days=9), usegmt=True), 0.0),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("Mon, 99 Foo 2026 99:99:99 GMT", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(given_: str | None, seconds: float | None) -> None:
    assert retry_after(given_, NOW) == seconds


@given(st.text())
def test_whatever_a_receiver_says_of_when_is_read_or_passed_over(text: str) -> None:
    found = retry_after(text, NOW)
    assert found is None or found >= 0
