"""The log of events that a job writes itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.runs.files import EventLog

EVENT = {"seq": 1, "attempt": 1, "time": "2026-01-01T00:00:00Z", "kind": "progress"}


@pytest.mark.parametrize("time", ["2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_an_event_that_no_database_holds_is_damage_and_ends_the_reading(time: str, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = [EVENT, {**EVENT, "seq": 2, "time": time}, {**EVENT, "seq": 3}]
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    assert [event.seq for event in EventLog().after(path, 0)] == [1]
