"""Which headers are keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.repeats.key import LONGEST, parse

PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=LONGEST)


@given(PRINTABLE)
def test_what_is_quoted_as_rfc_9651_says_is_that_key(key: str) -> None:
    quoted = '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert parse(quoted) == parse(f" {quoted}\t") == key


@pytest.mark.parametrize("text", ["k1", "8e03978e-40d5-43dd-bc93-6894a57f9324", "a\\b", 'a"b', "x" * LONGEST])
def test_a_bare_word_is_the_key_that_it_is_in_quotes(text: str) -> None:
    assert parse(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        '""',
        '"',
        '"a',
        "a b",
        '"a"b',
        '"a";x=1',
        '"a\\n"',
        "é",
        '"é"',
        "a\x7f",
        "x" * (LONGEST + 1),
        f'"{"x" * (LONGEST + 1)}"',
        '"a", "b"',
    ],
    ids=repr,
)
def test_what_is_no_key_is_none(text: str) -> None:
    assert parse(text) is None


@given(st.text(max_size=600))
def test_whatever_is_sent_is_a_key_of_bounded_length_or_none(text: str) -> None:
    key = parse(text)
    assert key is None or (1 <= len(key) <= LONGEST and key.isascii() and key.isprintable())
