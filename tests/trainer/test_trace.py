"""`traceparent` as W3C Trace Context has it."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer import trace
from trainer.trace import Trace, parse, received

ID, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
digits = st.text("0123456789abcdef", min_size=2, max_size=2)


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (f"00-{ID}-{SPAN}-01", True),
        (f"00-{ID}-{SPAN}-00", False),
        (f"00-{ID}-{SPAN}-ff", True),
        (f"00-{ID}-{SPAN}-02", False),
        (f"01-{ID}-{SPAN}-01", True),
        (f"cc-{ID}-{SPAN}-01-what-the-future-will-be-like", True),
    ],
)
def test_what_is_one_is_read_and_passed_on_as_version_00(text: str, sampled: bool) -> None:
    found = parse(text)
    assert found == Trace(ID, SPAN, sampled)
    assert str(found) == f"00-{ID}-{SPAN}-0{int(sampled)}"


@pytest.mark.parametrize(
    "text",
    [
        "", "00", f"00-{ID}-{SPAN}", f"00-{ID}-{SPAN}-1", f"00-{ID}-{SPAN}-01-", f"00-{ID}-{SPAN}-01-more",
        f"ff-{ID}-{SPAN}-01", f"cc-{ID}-{SPAN}-01.more", f"0-{ID}-{SPAN}-01", f"00-{ID.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01", f"00-{ID}-{'0' * 16}-01", f"00-{ID[1:]}-{SPAN}-01", f"00-{ID}-{SPAN}-0g",
        f"00-{ID}-{SPAN}-01\n", f" 00-{ID}-{SPAN}-01", f"00_{ID}_{SPAN}_01",
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_none_is_none(text: str) -> None:
    assert parse(text) is None


def test_two_headers_are_as_none() -> None:
    one = f"00-{ID}-{SPAN}-01"
    assert received([f" {one}\t"]) == parse(one)
    assert received([]) is received([one, one]) is None


@given(st.one_of(st.text(max_size=80), st.builds("{}-{}-{}-{}".format, digits, st.just(ID), st.just(SPAN), digits)))
def test_what_is_read_is_written_as_it_is_read(text: str) -> None:
    found = parse(text)
    assert found is None or parse(str(found)) == found


def test_a_child_is_another_span_of_the_same_trace() -> None:
    first = trace.begin()
    assert parse(str(first)) == first
    child = first.child()
    assert (child.id, child.sampled, child.span != first.span) == (first.id, first.sampled, True)


def test_a_process_is_in_the_trace_of_the_run_that_it_works_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEPARENT", "someone's")
    trace.enter(f"00-{ID}-{SPAN}-01")
    assert os.environ["TRACEPARENT"] == f"00-{ID}-{SPAN}-01"
    trace.enter(None)
    assert "TRACEPARENT" not in os.environ
