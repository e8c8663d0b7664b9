"""Structured logs: one JSON object a line on standard error. Tokens never reach a log record; `facts` holds the fields.

What a request or a round of the reconciler is about (`about`) is in every line that is written in it, whoever writes it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType

_NOTHING: Mapping[str, object] = MappingProxyType({})
_ABOUT: ContextVar[Mapping[str, object]] = ContextVar("about", default=_NOTHING)


@contextmanager
def about(**facts: object) -> Iterator[None]:
    """Lines of this block have these fields, too: `request_id`, `trace_id`, `job` or `search`, `attempt`. Threads take them along if
    they are given this context, as Starlette's and those of `service.elsewhere` are."""
    token = _ABOUT.set({**_ABOUT.get(), **facts})
    try:
        yield
    finally:
        _ABOUT.reset(token)


class JsonLines(logging.Formatter):
    """One record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """`{"time", "level", "logger", "message", …what it is about, …facts, "exception"?}`."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_ABOUT.get(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(level: str) -> None:
    """Give the `agon` loggers a handler, once. The server's own go through it, too, but for its access log: `agon.access` is ours.

    Of libraries, warnings and what is worse go there as well.
    """
    ours = logging.getLogger("agon")
    ours.setLevel(level.upper())
    if not ours.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(JsonLines())
        ours.addHandler(handler)
        ours.propagate = False
        for name, handlers in (("uvicorn", [handler]), ("uvicorn.error", []), ("uvicorn.access", [])):
            theirs = logging.getLogger(name)
            theirs.handlers, theirs.propagate = list(handlers), name == "uvicorn.error"
        others = logging.StreamHandler()
        others.setFormatter(handler.formatter)
        others.setLevel(logging.WARNING)
        logging.getLogger().addHandler(others)
