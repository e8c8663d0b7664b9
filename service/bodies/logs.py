"""Bodies about logs."""

from __future__ import annotations

from datetime import datetime

from service.bodies.base import Reply


class LogFile(Reply):
    """A log that is kept: what one process printed in one attempt."""

    attempt: int
    rank: int | None
    """Of the worker; null: the driver."""
    bytes: int
    """What is kept of it."""
    cut: bool
    """Whether it has grown so long that its middle was removed: the beginning and the end stay."""
    written_at: datetime
    url: str
    """Path of its text."""


class LogLine(Reply):
    """A line of a log that was looked for."""

    attempt: int
    rank: int | None
    """Of the worker; null: the driver."""
    line: int
    """Its number, from 1, in what is kept of the log."""
    offset: int
    """Where it begins: `/logs?offset=` reads on from there."""
    text: str
    """Without its end; of a long one what is around the words."""
    before: tuple[str, ...] = ()
    """The lines before it, as many as were asked for."""
    after: tuple[str, ...] = ()
