"""Specs and single values as text: YAML of which only plain data is read.

A plain scalar is what JSON says that it is (`1e-4`, `true`, `null`), and text otherwise: no dates, no base-60 times, no octals, no
`yes` and `no`. There are no tags, so no text can have anything constructed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from trainer import strict

MOST_VALUES = 100_000
"""In one text, those that aliases repeat counted anew."""
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
WORDS = {"": None, "null": None, "true": True, "false": False}
MERGE = "<<"


class TextError(yaml.YAMLError):
    """The text is YAML, but none that is read here."""


def read_yaml(text: str) -> Any:
    """The value that `text` stands for; JSON is YAML, too. Raises yaml.YAMLError, whatever the text."""
    try:
        return strict.loads(text)
    except ValueError:
        pass  # not JSON, or the same refused below
    try:
        return _Document(text).read()
    except yaml.YAMLError:
        raise
    except (ValueError, ArithmeticError, LookupError, RecursionError) as error:  # PyYAML's own, of strange escapes
        raise TextError(str(error)) from None


class _Document:
    """One document, made of PyYAML's events without its constructors."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=yaml.SafeLoader))
        self._count = 0
        self._anchors: dict[str, tuple[Any, int]] = {}

    def read(self) -> Any:
        """Its value; None if there is none."""
        next(self._events)  # the stream's start
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        value = self._value(next(self._events), 0)
        next(self._events)  # the document's end
        if not isinstance(following := next(self._events), yaml.StreamEndEvent):
            raise _wrong(following, "holds more than one document")
        return value

    def _value(self, event: Any, depth: int) -> Any:
        if depth > strict.MAX_DEPTH:
            raise _wrong(event, f"is nested deeper than {strict.MAX_DEPTH}")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise _wrong(event, f"*{event.anchor} stands for nothing before it")
            value, size = self._anchors[event.anchor]
            self._counted(event, size)
            return value
        if event.tag is not None:
            raise _wrong(event, f"tag {event.tag!r} is not read here")
        before = self._count
        self._counted(event, 1)
        value = self._of_kind(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._count - before)
        return value

    def _of_kind(self, event: Any, depth: int) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return [self._value(item, depth + 1) for item in iter(self._next, None)]
        return self._mapping(depth)

    def _next(self) -> Any:
        """None at the end of the collection."""
        event = next(self._events)
        return None if isinstance(event, yaml.CollectionEndEvent) else event

    def _mapping(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: list[Any] = []
        for key in iter(self._next, None):
            if not isinstance(key, yaml.ScalarEvent) or key.tag is not None or key.anchor is not None:
                raise _wrong(key, "a key is no plain text")
            value = self._value(next(self._events), depth + 1)
            if key.value == MERGE and key.implicit[0]:
                merged += value if isinstance(value, list) else [value]
                continue
            if key.value in found:
                raise _wrong(key, f"key {key.value!r} is there twice")
            strict.check(key.value)
            found[key.value] = value
        for other in merged:
            if not isinstance(other, dict):
                raise TextError(f"{MERGE} takes a mapping, or a list of them")
            found = {**other, **found}
        return found

    def _counted(self, event: Any, size: int) -> None:
        self._count += size
        if self._count > MOST_VALUES:
            raise _wrong(event, f"holds more than {MOST_VALUES:,} values")


def _scalar(event: yaml.ScalarEvent) -> Any:
    text = event.value
    if not event.implicit[0]:  # quoted
        strict.check(text)
        return text
    if text in WORDS:
        return WORDS[text]
    if INTEGER.fullmatch(text):
        return strict.integer(text)
    value = float(text) if FLOAT.fullmatch(text) else text
    strict.check(value)
    return value


def _wrong(event: Any, what: str) -> TextError:
    mark = event.start_mark
    return TextError(f"{what} (line {mark.line + 1}, column {mark.column + 1})")


class _Dumper(yaml.SafeDumper):
    """Quotes what the reader above would read as a number, beside all that YAML 1.1 would."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(rf"^(?:{FLOAT.pattern})$|^[-+]?\d[\d_.]*[eE]"), list("-+.0123456789")
)


def write_yaml(value: Any, *, flow: bool | None = False, width: int = 80) -> str:
    """`value` as YAML, keys in their order. flow: whether collections stand on one line; None: those that hold no other."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=flow, width=width
    )
    return text
