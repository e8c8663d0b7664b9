"""Calls about logs. Whose: a job's id, a search's, or a trial's as `SEARCH/TRIAL`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from service.bodies.base import Page
from service.bodies.logs import LogFile, LogLine
from service.client import stream
from service.client.base import Calls, part


class LogPiece(NamedTuple):
    """A part of a log."""

    text: str
    end: int
    """Place behind it: the `offset` of the next."""


class LogText(NamedTuple):
    """What a log goes on with."""

    text: str
    attempt: int
    id: str
    """What `follow_log(after=…)` takes to go on behind it."""


class LogCalls(Calls):
    """Part of `Client`. rank: a worker's; None: the driver, of a trial its first worker. attempt: None: the newest."""

    def logs(self, of: str, *, tail: int | None = None, attempt: int | None = None, rank: int | None = None) -> str:
        """The log of an attempt; `tail`: only its last lines."""
        params = {"tail": tail, "attempt": attempt, "rank": rank}
        return self._connection.call("GET", _path(of), params=params).text

    def log_piece(
        self,
        of: str,
        *,
        offset: int = 0,
        attempt: int | None = None,
        rank: int | None = None,
        tail: int | None = None,
    ) -> LogPiece:
        """What of a log lies behind `offset` (at most a million bytes; empty: nothing more for now), or its last lines."""
        params: dict[str, Any] = {"tail": tail, "attempt": attempt, "rank": rank}
        reply = self._connection.call("GET", _path(of), params=params | ({"offset": offset} if tail is None else {}))
        return LogPiece(reply.text, int(reply.headers.get("x-log-offset", 0)))

    def follow_log(
        self,
        of: str,
        *,
        attempt: int | None = None,
        rank: int | None = None,
        tail: int | None = None,
        after: str | None = None,
    ) -> Iterator[LogText]:
        """The log from its beginning (or its last lines, or behind `after`, a `LogText.id`), then what is written as it comes.

        The log of each later attempt follows. Ends once the run, or the trial, has ended and all is told; a pause doesn't end
        it. Goes on where it was when the connection breaks or the API restarts.
        """
        asked = {"attempt": attempt, "rank": rank, "tail": tail}
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        path = f"{_path(of)}/stream{'?' if query else ''}{query}"
        for event in stream.events(self._connection, path, after, lambda: False, lambda event: event.kind == "state"):
            if event.kind == "log":
                yield LogText(str(event.data.get("text", "")), event.attempt, event.id)

    def search_in_logs(
        self,
        of: str,
        *texts: str,
        attempt: int | None = None,
        rank: int | None = None,
        case: bool = False,
        context: int = 0,
    ) -> Iterator[LogLine]:
        """The lines of an attempt that have one of the texts, whatever their case unless `case`; without a rank of all its logs.

        context: that many lines before and after each come with it, ten at most.
        """
        asked = {"text": list(texts), "attempt": attempt, "rank": rank, "case": case, "context": context}
        cursor = None
        while True:
            params = {**asked, "limit": 200, "cursor": cursor}
            page = self._read(Page[LogLine], "GET", f"{_path(of)}/search", params=params)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def save_log(self, of: str, target: Path, *, attempt: int | None = None, rank: int | None = None) -> Path:
        """Write a log, as it is now and byte for byte, to a file; returns `target`. Raises OSError."""
        return self._save(_path(of), {"attempt": attempt, "rank": rank}, target)

    def save_logs(self, of: str, target: Path, *, attempt: int | None = None) -> Path:
        """Write all logs that are kept, or those of one attempt, to a tar file; of a search those of its trials, too."""
        return self._save(f"{_path(of)}/archive", {"attempt": attempt}, target)

    def _save(self, path: str, params: dict[str, Any], target: Path) -> Path:
        """Whoever looks sees all of it or what was there before. A download that breaks off begins anew."""
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with aside.open("wb") as file:
                self._connection.fetch(path, params, file)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
        return target

    def search_logs(self, search: str, *, tail: int | None = None, attempt: int | None = None) -> str:
        """The log of a search's driver, as `logs`."""
        params = {"tail": tail, "attempt": attempt}
        return self._connection.call("GET", f"/v1/searches/{part(search)}/logs", params=params).text

    def log_files(self, of: str, *, limit: int | None = None, cursor: str | None = None) -> Page[LogFile]:
        """One page of the logs that are kept: newest attempt first, in each the driver and then its workers."""
        return self._read(Page[LogFile], "GET", f"{_path(of)}/list", params={"limit": limit, "cursor": cursor})

    def every_log_file(self, of: str) -> Iterator[LogFile]:
        """All of them, page by page."""
        cursor = None
        while True:
            page = self.log_files(of, limit=200, cursor=cursor)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return


def _path(of: str) -> str:
    run, slash, trial = of.partition("/")
    if slash:
        return f"/v1/searches/{part(run)}/trials/{part(trial)}/logs"
    return f"/v1/{'searches' if run.startswith('s-') else 'jobs'}/{part(run)}/logs"
