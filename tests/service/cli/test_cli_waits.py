"""What the command says of a run that waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.bodies.waiting import Waiting
from service.cli import waits as words_of
from service.cli.waits import place, waits


class Run:
    """As far as it is told."""

    id, priority, preemptible, owner = "j-9", 50, False, "ada"

    def __init__(self, **facts: Any) -> None:
        usual = {"for": "cpu", "needs": {"workers": 1, "cpus": 4.0, "gpus": 0.0}, "free": None, "position": 2}
        self.waiting = Waiting.model_validate({**usual, **facts})


NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words_of, "_from_now", lambda moment: (moment - NOW).total_seconds())


def eta(early: float, late: float | None, sure: str = "told") -> dict[str, Any]:
    return {
        "early": NOW + timedelta(seconds=early),
        "late": None if late is None else NOW + timedelta(seconds=late),
        "sure": sure,
    }


def said(run: Run) -> dict[str, str]:
    return {name: value for name, value in waits(run, "agon edit") if value}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (eta(300, 720), "in 5:00 to 12:00, as those say that it waits for"),
        (eta(300, 720, "likely"), "in 5:00 to 12:00, by how long others like those took that it waits for"),
        (eta(300, 720, "new"), "in 5:00 to 12:00"),
        (eta(300, None, "open"), "at the earliest in 5:00; nobody knows how long some of those take that it waits for"),
        (eta(0, 15), "at once"),
    ],
)
def test_when_it_starts(given: dict[str, Any], words: str) -> None:
    assert said(Run(eta=given))["starts"] == words


def test_where_it_stands_and_behind_whom() -> None:
    assert said(Run(ahead=["j-1"]))["in line"] == "2nd, behind j-1"
    assert said(Run(position=12, ahead=["j-1", "j-2"]))["in line"] == "12th, behind j-1, j-2, …"
    assert said(Run(position=1))["in line"] == "1st"
    assert "in line" not in said(Run(position=None))
    assert [place(Run(position=count)) for count in (None, 3, 11, 21)] == [
        "",
        ", 3rd in line",
        ", 11th in line",
        ", 21st in line",
    ]  # type: ignore[arg-type]


def test_by_how_much_later_it_counts_as_submitted_and_why() -> None:
    delay = {"hours": 2.345, "used_hours": 1.234, "held_hours": 1.5, "passed_by": 3}
    had = "ada had used 1.23 hours of the whole cluster of late, and had 1.5 more in hand"
    words = f"counts as submitted 2.3 hours later: {had}"
    assert said(Run(delay=delay))["fair share"] == f"{words}; 3 runs are ahead of it for that"
    assert said(Run(delay={**delay, "passed_by": 1}))["fair share"] == f"{words}; 1 run is ahead of it for that"
    assert said(Run(delay={**delay, "passed_by": 0}))["fair share"] == words
    assert "fair share" not in said(Run())


def test_what_would_start_it_sooner_is_what_one_types() -> None:
    found = said(Run(cheaper=[{"change": {"resources.workers": 2}, "starts": eta(0, 15)}]))
    assert found["sooner"] == "agon edit j-9 --set resources.workers=2: at once"


FREE = {"cpus": 2.0, "gpus": 0.0}


@pytest.mark.parametrize(
    ("facts", "lines"),
    [
        ({"eta": eta(0, 15), "free": {"cpus": 8.0, "gpus": 0.0}, "position": 1}, ["submitted now, it would start at once"]),
        (
            {"eta": eta(300, 720), "free": FREE, "position": 3, "ahead": ["j-1", "j-2"]},
            [
                "submitted now, it would start in 5:00 to 12:00, as those say that it waits for, 3rd in line",
                "2 of 4 CPUs free",
            ],
        ),
        (
            {"eta": eta(300, 720), "free": FREE, "position": 1, "cheaper": [{"change": {"resources.workers": 2}, "starts": eta(0, 15)}]},
            [
                "submitted now, it would start in 5:00 to 12:00, as those say that it waits for",
                "2 of 4 CPUs free",
                "with --set resources.workers=2 it would start at once",
            ],
        ),
        (
            {"for": "nodes", "free": FREE, "position": None},
            ["it would not start: the cluster has no nodes that hold it", "2 of 4 CPUs free"],
        ),
        ({"for": "cluster"}, ["nothing is known of the cluster now, nor when it would start"]),
    ],
)  # fmt: skip
def test_when_what_is_not_submitted_would_start(facts: dict[str, Any], lines: list[str]) -> None:
    assert [*words_of.would_start(Run(**facts).waiting)] == lines
