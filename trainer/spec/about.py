"""What people note about a job or a search. It changes nothing of what is trained, and may change at any time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from trainer.spec.errors import FieldError, refuse, short

MOST_LABELS = 32
MOST_NOTES = 4000
LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
"""A label's name: dots separate the parts of a path."""
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def label_problem(name: str, value: str) -> str | None:
    """What is wrong with a label, for a person; None if nothing is."""
    if not LABEL.fullmatch(name):
        return "a label's name has letters, digits, - and _ (63 at most), and begins and ends with a letter or digit"
    if not LABEL_VALUE.fullmatch(value):
        return (
            "a label's value has letters, digits, -, _ and . (63 at most), and begins and ends with a letter or digit"
        )
    return None


def _as_text(given: object) -> object:
    """YAML reads `final: true` and `7: 3` as other than text; null stands for no labels."""
    if not isinstance(given, Mapping):
        return {} if given is None else given
    found = {_word(name): _word(value) for name, value in given.items()}
    if odd := [(name, value) for name, value in found.items() if not isinstance(value, str)]:
        fix = "give text, in quotes if it looks like a number; leave the label out for none"
        refuse(
            [FieldError(path=str(name)[:80], message="is no text", value=short(value), fix=fix) for name, value in odd]
        )
    return found


def _word(given: object) -> object:
    if isinstance(given, bool):
        return str(given).lower()
    return str(given) if isinstance(given, int) else given


def _labels(labels: dict[str, str]) -> dict[str, str]:
    if wrong := list(_wrong(labels)):
        refuse(wrong)
    return dict(sorted(labels.items()))


def _wrong(labels: Mapping[str, str]) -> Iterator[FieldError]:
    if len(labels) > MOST_LABELS:
        yield FieldError(path="", message=f"are {len(labels)}", fix=f"at most {MOST_LABELS} are kept")
    for name, value in labels.items():
        if (problem := label_problem(name, value)) is not None:
            yield FieldError(path=name[:80], message="is no label", value=short(value), fix=problem)


def _printable(text: str) -> str:
    text = text.replace("\r\n", "\n")
    if odd := [character for character in text if not (character.isprintable() or character in "\n\t")]:
        raise ValueError(f"holds {odd[0]!a}, which can't be shown; use printable text, line ends and tabs")
    return text


Labels = Annotated[dict[str, str], BeforeValidator(_as_text), AfterValidator(_labels)]
Notes = Annotated[str, Field(max_length=MOST_NOTES), AfterValidator(_printable)]
