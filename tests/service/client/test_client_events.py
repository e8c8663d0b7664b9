"""The client and the command over the stream of all runs, against a server that breaks off, and against the real one."""

from __future__ import annotations

from itertools import islice
from typing import Any

from service.client import Client, RunEvent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
RUN = {"id": "j-1", "kind": "job", "name": "small", "owner": "ada"}
STATE = {"run": RUN, "state": "running", "attempt": 1, "reason": "", "time": "2026-01-01T00:00:00Z", "trace": TRACE}
PROGRESS = {
    "run": {**RUN, "id": "s-1", "kind": "search"}, "seq": 7, "attempt": 2, "time": "2026-01-01T00:00:00Z", "kind": "progress",
    "step": 3, "images": 9, "data": {"metrics": {"loss": 1}}, "trace": TRACE,
}  # fmt: skip


def test_all_events_are_read_with_their_runs_and_go_on_behind_the_last_id_also_one_without_an_event(
    script: Any,
) -> None:
    script.stream(("4", "state", STATE), cut=True)
    script.then("id: 9\r\n\r\n", content_type="text/event-stream", cut=True)
    script.stream(("11-7", "progress", PROGRESS), ("12", "cut", {"reason": "slow"}))
    script.stream(("13", "state", STATE))
    with Client(script.url, "t") as client:
        found = list(islice(client.all_events(kind="job", runs=["j-1"], labels={"team": "a b"}, states=True), 3))
    assert found[0] == RunEvent(
        id="4", kind="state", data={key: STATE[key] for key in ("state", "attempt", "reason", "time", "trace")},
        attempt=1, time=STATE["time"], trace=TRACE, run=RUN,
    )  # fmt: skip
    assert (found[1].run.kind, found[1].kind, found[1].step, found[1].data) == (
        "search",
        "progress",
        3,
        {"metrics": {"loss": 1}},
    )
    assert (found[1].trace, found[1].model_dump(mode="json")["trace"]) == (TRACE, TRACE), "as agon events prints it"
    assert found[2].id == "13"
    assert [seen.headers.get("last-event-id") for seen in script.seen] == [None, "4", "9", "12"]
    assert script.seen[0].path == "/v1/events?kind=job&run=j-1&label=team%3Da+b&states=true"
