"""A job's events, or those of all runs, as one stream, however often the connection breaks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
from httpx_sse import EventSource, ServerSentEvent, SSEError
from pydantic import Field

from service.bodies.base import Reply
from service.bodies.runs import TERMINAL
from service.client.connection import FIRST_PAUSE, LONGEST_PAUSE, Connection, passing
from service.client.errors import Unreachable, UnreadableReply, from_response

SILENCE_SECONDS = 60.0
"""The API sends a comment more often than that; a longer silence is a dead connection."""


class Event(Reply):
    """One event of a job or search: `state` (data: the new state), or a kind of `trainer.wire.EventKind`."""

    id: str
    """What `events(after=…)` takes to go on behind it."""
    kind: str
    data: dict[str, Any] = Field(default_factory=dict)
    attempt: int = 0
    """Of the run, that it tells of; 0 before the first."""
    step: int = 0
    images: int = 0
    time: datetime | None = None
    trace: str | None = None
    """The run's, as `Run.trace`; None: the run has none, or the API is one that doesn't tell it."""


class RunName(Reply):
    """Whose event it is."""

    id: str
    kind: str
    """`job` or `search`."""
    name: str = ""
    owner: str = ""


class RunEvent(Event):
    """One event of any run, in the stream of all."""

    run: RunName


def _of_a_run(event: Event) -> bool:
    """Whether a run has ended with it."""
    return event.kind == "state" and event.data.get("state") in TERMINAL


def events(
    connection: Connection,
    path: str,
    after: str | None,
    ended: Callable[[], bool],
    is_last: Callable[[Event], bool] = _of_a_run,
) -> Iterator[Event]:
    """Events behind id `after`, until the job has ended. Raises ApiError; Unreachable after `patience` without an answer."""
    place, pause = _Place(after), FIRST_PAUSE
    silent_since = time.monotonic()
    while True:
        came = False
        try:
            for event in _one_connection(connection, path, place):
                came = True
                yield event
                if is_last(event):
                    return
            if not came and ended():
                return
        except (httpx.TransportError, _Passing) as error:
            if place.take_answered():  # it is there, though nothing happened
                silent_since = time.monotonic()
            if not came and time.monotonic() - silent_since > connection.patience:
                raise Unreachable(connection.url, error, proxied=connection.proxied) from error
        else:
            silent_since = time.monotonic()
        if came:
            silent_since, pause = time.monotonic(), FIRST_PAUSE
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


class _Passing(Exception):  # noqa: N818
    """An answer that invites to try again."""


@dataclass
class _Place:
    """How far a follower is."""

    id: str | None
    """The last that came; one may come without an event."""
    answered: bool = False
    """Whether the API has begun to answer since that was last asked."""

    def take_answered(self) -> bool:
        """And ask anew."""
        answered, self.answered = self.answered, False
        return answered


def _one_connection(connection: Connection, path: str, place: _Place) -> Iterator[Event]:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if place.id is not None:
        headers["Last-Event-ID"] = place.id
    timeout = httpx.Timeout(connection.http.timeout.connect, read=SILENCE_SECONDS)
    with connection.http.stream("GET", path, headers=headers, timeout=timeout) as response:
        if not response.is_success:
            response.read()
            if passing(response):
                raise _Passing(f"status {response.status_code}")
            raise from_response(response)
        place.answered = True
        try:
            for message in EventSource(response).iter_sse():
                place.id = message.id or place.id
                if message.data:  # after the first id, httpx-sse takes a comment (a ping) for an empty event
                    yield _event(message)
        except SSEError as error:
            raise UnreadableReply(f"{path} is no event stream: {error}") from error


def _event(message: ServerSentEvent) -> Event:
    """A wire event carries its own fields; a state change is its data."""
    try:
        body = json.loads(message.data)
    except ValueError as error:
        raise UnreadableReply(f"an event that is no JSON: {message.data[:80]!r}") from error
    run = body.pop("run", None)
    kind = Event if run is None else RunEvent
    of = {} if run is None else {"run": run}
    if "kind" in body and isinstance(body.get("data"), dict):
        known = {name: body[name] for name in ("attempt", "step", "images", "time", "trace") if name in body}
        return kind(id=message.id, kind=message.event, data=body["data"], **known, **of)
    known = {"attempt": body.get("attempt") or 0, "time": body.get("time"), "trace": body.get("trace")}
    return kind(id=message.id, kind=message.event, data=body, **known, **of)
