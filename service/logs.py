"""Structured logs: one JSON object a line on standard error. Tokens never reach a log record; `facts` holds the fields."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime


class JsonLines(logging.Formatter):
    """One record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """`{"time", "level", "logger", "message", …facts, "exception"?}`."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(level: str) -> None:
    """Give the `agon` loggers a handler, once. The server's own go through it, too, but for its access log: `agon.access` is ours."""
    root = logging.getLogger("agon")
    root.setLevel(level.upper())
    if not root.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(JsonLines())
        root.addHandler(handler)
        root.propagate = False
        for name, handlers in (("uvicorn", [handler]), ("uvicorn.error", []), ("uvicorn.access", [])):
            theirs = logging.getLogger(name)
            theirs.handlers, theirs.propagate = list(handlers), name == "uvicorn.error"
