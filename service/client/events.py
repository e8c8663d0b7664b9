"""What all runs tell, as one stream."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Literal, cast
from urllib.parse import urlencode

from service.client import stream
from service.client.base import Calls, label_words
from service.client.stream import RunEvent


class EventCalls(Calls):
    """Part of `Client`."""

    def all_events(
        self,
        *,
        after: str | None = None,
        kind: Literal["job", "search"] | None = None,
        runs: Collection[str] = (),
        owner: str | None = None,
        labels: Mapping[str, str] | None = None,
        states: bool = False,
    ) -> Iterator[RunEvent]:
        """Every change of state and every event of all jobs and searches from now on, or behind the id `after` ("0": from the
        beginning), without an end. Goes on where it was when the connection breaks or the API restarts.

        runs: only these, by id; labels: only runs that have them all; states: changes of state alone. Raises ApiError; Unreachable.
        """
        asked = {"kind": kind, "run": list(runs), "owner": owner, "label": label_words(labels)}
        known = {name: value for name, value in asked.items() if value} | ({"states": "true"} if states else {})
        path = f"/v1/events{'?' if known else ''}{urlencode(known, doseq=True)}"
        for event in stream.events(self._connection, path, after, lambda: False, lambda _: False):
            if event.kind != "cut":  # this client was slow; it goes on behind it
                yield cast(RunEvent, event)
