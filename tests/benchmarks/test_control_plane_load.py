"""The load benchmark measures what it says, and runs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from benchmarks.control_plane import __main__ as benchmark
from benchmarks.control_plane.followers import Heard, Listener
from benchmarks.control_plane.load import Ask, Outcome, arrivals, offer, quantiles
from benchmarks.control_plane.sampler import lines
from benchmarks.control_plane.taken import lanes


def test_arrivals_are_fixed_by_the_seed_and_come_as_often_as_asked() -> None:
    found = arrivals(200.0, 50.0, 3)
    assert found == arrivals(200.0, 50.0, 3) == sorted(found)
    assert found != arrivals(200.0, 50.0, 4)
    assert 9_500 < len(found) < 10_500
    assert 0.0 < found[0] <= found[-1] < 50.0


def test_latency_counts_from_when_a_request_was_due_and_not_from_when_it_was_sent() -> None:
    async def slow(_: Ask) -> str:
        await asyncio.sleep(0.05)
        return "200"

    lane = [Ask(0.0, "GET", "/") for _ in range(4)]
    found = asyncio.run(offer([lane], 1, slow))
    assert found.answered == 4
    assert all(latency >= 0.05 * turn for turn, latency in enumerate(found.latencies, 1))


def test_what_is_not_answered_is_counted_and_is_at_least_as_late_as_it_was_then() -> None:
    async def never(ask: Ask) -> str:
        await asyncio.sleep(0.0 if ask.path == "/quick" else 60.0)
        return "200"

    lane = [Ask(0.0, "GET", "/quick"), *[Ask(0.0, "GET", "/hangs") for _ in range(3)]]
    found = asyncio.run(offer([lane], 2, never, grace=0.1))
    assert (found.answered, found.unserved) == (1, 3)
    assert sorted(found.latencies)[1] >= 0.1
    assert "unserved: 3" in found.row(1.0)["errors"]


def test_a_refusal_is_an_error_and_no_answer() -> None:
    found = Outcome(seconds=2.0)
    found.statuses.update({"201": 3, "503": 2})
    row = found.row(5.0)
    assert (row["reached_per_s"], row["errors"]) == (1.5, "503: 2")


def test_a_hundredth_lies_beyond_the_p99() -> None:
    assert quantiles([float(value) for value in range(1000)])["p99_ms"] == 990.0


def test_jobs_report_by_turns_each_its_own_events_in_order() -> None:
    seqs: dict[str, int] = {"a": 10}
    found = lanes([(1, "a", "t"), (2, "b", "u")], [0.0, 1.0, 2.0], 5, seqs)
    assert [ask.due for ask in found[0]] == [0.0, 2.0]
    assert seqs == {"a": 20, "b": 5}
    assert [event["seq"] for event in json.loads(found[0][1].body or b"")["events"]] == [16, 17, 18, 19, 20]


def test_an_event_that_comes_in_two_pieces_is_heard_once_when_it_is_whole() -> None:
    heard = Heard()
    listener = Listener(heard)
    listener.begun = 100.0
    listener.take(b'data: {"metrics":{"at":1.', 101.0)
    assert heard.latencies == []
    listener.take(b'25}}\r\n\r\ndata: {"at": 2.0', 101.5)
    assert heard.latencies == pytest.approx([0.25])


def test_a_profile_tells_threads_packages_and_our_functions() -> None:
    site = "/venv/lib/python3.11/site-packages"
    folded = [
        f"thread (7): MainThread;run (/lib/asyncio/runners.py);do (/x/service/http.py);send ({site}/h11/_connection.py) 3",
        f"thread (8): AnyIO worker thread;do (/x/service/http.py);do_execute ({site}/sqlalchemy/engine/default.py) 1",
    ]
    found = lines(folded)
    assert found[1:3] == ["thread: event loop 75 %", "thread: request threads 25 %"]
    assert "package: h11 75 %" in found
    assert "package: the database's driver, do_execute 25 %" in found
    assert "with what it calls: service/http.py do 100 %" in found


@pytest.mark.system
@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_whole_benchmark_runs_and_nothing_it_asks_for_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "load.json"
    monkeypatch.setattr("sys.argv", ["control_plane", "--quick", "--out", str(out)])
    assert benchmark.main() == 0
    report = json.loads(out.read_text())
    scenarios = {row["scenario"] for row in report["rows"]}
    assert scenarios == {"submissions", "waiting", "events", "followers", "restart", "rounds", "idle", "lists"}
    assert not [row["errors"] for row in report["rows"] if any(sign in row.get("errors", "") for sign in "45")]
    assert all(row["not_delivered"] == 0 for row in report["rows"] if "not_delivered" in row)
    assert report["profiles"]
