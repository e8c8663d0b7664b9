"""W3C Trace Context: one id for all that a request leads to, from the API to the workers. Both sides import it; no dependency.

Recommendation of 23 November 2021 (level 1), sections 3.2 and 4. What arrives is parsed strictly: anything else begins a new trace.
`tracestate` is not passed on, as section 4.3 allows: Agon puts nothing there, and nobody's words of any length into a run's row.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import lru_cache

HEADER = "traceparent"
ANSWERED = "traceresponse"
"""W3C Trace Context level 2: what a server answers, in the same form."""
ENVIRONMENT = "TRACEPARENT"
"""Where a process finds it (OpenTelemetry, Environment Variables as Context Propagation Carriers)."""
SAMPLED = 0x01
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)


@dataclass(frozen=True)
class Trace:
    """Where in a trace something happens: its trace, and the span in it."""

    id: str
    """32 lower-case hexadecimal digits, not all 0."""
    span: str
    """16 of them."""
    sampled: bool = True
    """Whether the one before may have recorded it. Of a new one: the API's log has."""

    def __str__(self) -> str:
        return f"00-{self.id}-{self.span}-{SAMPLED if self.sampled else 0:02x}"

    def child(self) -> Trace:
        """A new span in it."""
        return replace(self, span=_digits(8))


_CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)


def current() -> Trace | None:
    """Where this thread or task is in a trace; None: in none."""
    return _CURRENT.get()


@contextmanager
def within(trace: Trace | None) -> Iterator[None]:
    """What happens in the block happens there."""
    token = _CURRENT.set(trace)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def begin() -> Trace:
    """A new one."""
    return Trace(_digits(16), _digits(8))


def _digits(size: int) -> str:
    while not (digits := secrets.token_hex(size)).strip("0"):
        continue
    return digits


def parse(text: str | None) -> Trace | None:
    """A `traceparent`; None for what is none. One of a later version counts for as much as this one says (section 4.3).

    Flags but `sampled` mean nothing here, and are not passed on (section 3.2.2.5).
    """
    found = _FORM.fullmatch(text or "")
    if found is None:
        return None
    version, trace, span, flags, rest = found.groups()
    if version == "ff" or (version == "00" and rest is not None) or not trace.strip("0") or not span.strip("0"):
        return None
    return Trace(trace, span, bool(int(flags, 16) & SAMPLED))


@lru_cache(4096)
def id_of(traceparent: str | None) -> str | None:
    """The id of its trace; None for what is none. Remembered, since every event that is told of a run asks for its run's."""
    found = parse(traceparent)
    return None if found is None else found.id


def received(headers: Sequence[str]) -> Trace | None:
    """Of a request with these headers of that name: several are as none."""
    return parse(headers[0].strip(" \t")) if len(headers) == 1 else None


def enter(traceparent: str | None) -> None:
    """This process works for that run from now on: its children, and libraries that know the convention, find it."""
    if parse(traceparent) is None:
        os.environ.pop(ENVIRONMENT, None)
    else:
        os.environ[ENVIRONMENT] = str(traceparent)
