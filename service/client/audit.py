"""Calls about who changed what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from service.bodies.audit import AuditEntry
from service.bodies.base import Page
from service.client import stream
from service.client.base import Calls


class AuditCalls(Calls):
    """Part of `Client`. Filters of all three: `actor` (a person), `token` (an id), `action` (`job.pause`, or `job` for all of that
    kind), `target` (an id or name), `outcome` (done, refused, failed, begun), `since` and `until` (ISO 8601 with a time zone)."""

    def audit(self, *, limit: int | None = None, cursor: str | None = None, **filters: str | None) -> Page[AuditEntry]:
        """One page of who changed what, and who was refused a change, newest first; users see what they did themselves."""
        return self._read(Page[AuditEntry], "GET", "/v1/audit", params={"limit": limit, "cursor": cursor, **filters})

    def every_audit(self, *, limit: int = 200, **filters: str | None) -> Iterator[AuditEntry]:
        """All of it, page by page."""
        cursor = None
        while True:
            page = self.audit(limit=limit, cursor=cursor, **filters)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def follow_audit(self, *, after: str | None = None, **filters: str | None) -> Iterator[AuditEntry]:
        """Each record as it comes, from now on or behind `after`, without an end; goes on when the connection breaks."""
        known: dict[str, Any] = {name: value for name, value in filters.items() if value is not None}
        path = f"/v1/audit/stream{'?' if known else ''}{urlencode(known)}"
        for event in stream.events(self._connection, path, after, lambda: False, lambda _: False):
            yield AuditEntry.model_validate(event.data)
