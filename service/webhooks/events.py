"""What is told: types, patterns of them, and messages. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from service.bodies.states import State
from service.runs.kinds import KINDS

NOTE = "note"
"""Of a run whose state is what it was: a limit that is near, say."""
REGISTERED, CHAMPION, TEST = "model.registered", "model.champion", "webhook.test"
TYPES = (
    *(f"{kind}.{what}" for kind in KINDS for what in (*(state.value for state in State), NOTE)),
    REGISTERED,
    CHAMPION,
)
"""That can be asked for. A test comes whatever was."""
MOST_TEXT = 1000
"""Characters of a text; with labels a message stays far below 20 kB, which the specification recommends."""


@dataclass(frozen=True)
class Happened:
    """One change of a run, as it was told."""

    run: str
    kind: str
    name: str
    owner: str
    labels: Mapping[str, str]
    place: int
    """On the tape."""
    told_at: datetime
    state: str
    before: str | None
    """The state that the run had; None: this is its first."""
    attempt: int
    reason: str
    trace: str | None = None
    """The run's."""
    failure: Mapping[str, Any] | None = None
    model: Mapping[str, Any] | None = None
    """What it has registered."""


@dataclass(frozen=True)
class Message:
    """One that may be sent."""

    id: str
    type: str
    run: str
    told_at: datetime
    body: str


def wanted(patterns: Iterable[str], type_: str) -> bool:
    """Whether one of the patterns is that type: `job.failed`, `job.*` or `*`."""
    return any(pattern in ("*", type_, f"{type_.partition('.')[0]}.*") for pattern in patterns)


def unknown(pattern: str) -> bool:
    """Whether a pattern can never be one of the types."""
    return not any(wanted([pattern], type_) for type_ in TYPES)


def messages(what: Happened) -> Iterator[Message]:
    """All that is told of it."""
    about: dict[str, Any] = {
        "id": what.run,
        "kind": what.kind,
        "name": what.name,
        "owner": what.owner,
        "labels": dict(what.labels),
        "url": f"{KINDS[what.kind].path}/{what.run}",
        "trace": what.trace,
    }
    told: dict[str, Any] = {"state": what.state, "attempt": what.attempt, "reason": _short(what.reason)}
    if what.state == State.FAILED and what.failure:
        told["failure"] = {name: what.failure.get(name) for name in ("kind", "rank")}
    same = what.state == what.before
    yield _message(what, f"{what.kind}.{NOTE if same else what.state}", "", {**about, **told})
    if what.model and what.state == State.SUCCEEDED and not same:
        model = {
            "model": what.model.get("name"),
            "version": what.model.get("version"),
            "champion": bool(what.model.get("champion")),
            "verdict": _short(str(what.model.get("verdict", ""))),
        }
        yield _message(what, REGISTERED, "_model", {**about, **model})
        if model["champion"]:
            yield _message(what, CHAMPION, "_champion", {**about, **model})


def _message(what: Happened, type_: str, part: str, data: dict[str, Any]) -> Message:
    id_ = f"msg_{what.run}_{what.place}{part}"
    return Message(id_, type_, what.run, what.told_at, body(type_, what.told_at, data))


def test(id_: str, webhook: str, now: datetime) -> Message:
    """That nothing has happened."""
    data = {"id": webhook, "kind": "webhook", "url": f"/v1/webhooks/{webhook}"}
    return Message(id_, TEST, "", now, body(TEST, now, data))


def body(type_: str, moment: datetime, data: Mapping[str, Any]) -> str:
    """What is sent: `{type, timestamp, data}`."""
    whole = {"type": type_, "timestamp": moment.astimezone(UTC).isoformat(), "data": data}
    text = json.dumps(whole, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace").decode()


def _short(text: str) -> str:
    return text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 1]}…"
