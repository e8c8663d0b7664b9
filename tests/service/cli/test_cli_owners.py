"""`agon owners`: who has what, of how much."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from service.cli.owners import shares
from service.client import Share

Agon = Callable[..., Any]


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()[1:]]


def test_caps_are_set_shown_and_taken_away(agon: Agon, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = agon("tokens", "create", "laptop", "--owner", "ada").out.strip()
    assert agon("owners", "cap", "*", "--running", "2").code == 0
    found = agon("owners", "cap", "ada", "--gpus", "8", "--gpu-hours-week", "12.5", "--waiting", "0")
    assert rows(found.out) == [["ada", "0", "0", "0", "of", "8", "0", "of", "12.5", "0", "of", "0", "own"]]
    assert [row[0] for row in rows(agon("owners").out)] == ["*", "ada", "admin"]
    assert json.loads(agon("owners", "ada", "--json").out)["caps"]["gpus"] == 8
    with monkeypatch.context() as patch:
        patch.setenv("AGON_TOKEN", secret)
        refused = agon("submit", "dcgan-digits")
        assert (refused.code, "ada may have 0 runs in the queue" in refused.err) == (4, True)
        assert rows(agon("owners", "me").out)[0][0] == "ada"
        assert agon("owners").code == 4
        assert "agon owners show me" in " ".join(agon("owners", "admin").err.split())
    assert agon("owners", "uncap", "ada").code == 0
    with monkeypatch.context() as patch:
        patch.setenv("AGON_TOKEN", secret)
        assert agon("submit", "dcgan-digits").code == 0
    assert json.loads(agon("jobs", "--owner", "ada", "--json").out)[0]["owner"] == "ada"
    assert json.loads(agon("jobs", "--owner", "bob", "--json").out) == []
    assert rows(agon("owners", "ada").out)[0][2:4] == ["of", "2"]
    assert agon("owners", "uncap", "ada").code == 4


def test_what_an_owner_has_used_and_what_it_does_to_their_next_run_is_one_sentence() -> None:
    share = Share(cpu_hours=40.0, gpu_hours=0.0, used_hours=2.5, held_hours=1.0, delay_hours=3.054)
    assert shares("ada", share) == (
        "ada has used 40 CPU-hours and 0 GPU-hours of late: 2.5 hours of the whole cluster, and has 1 more in hand; "
        "what they submit now counts as submitted 3.1 hours later"
    )


@pytest.mark.long
def test_usage_is_a_table_with_its_total_and_costs_where_there_are_prices(agon: Agon, world: Any) -> None:
    assert "no runs yet" in agon("usage").err
    assert agon("submit", "dcgan-digits").code == 0
    assert agon("submit", "gan-digits", "--set", "limits.run=1h").code == 0
    assert agon("submit", "gan-digits").code == 0
    found = agon("usage", "--by", "family")
    assert (found.code, [row[:2] for row in rows(found.out)]) == (0, [["dcgan", "1"], ["gan", "2"], ["total", "3"]])
    assert found.out.count("(1 run)") == 4, "of one of two, and of one of three"
    assert rows(found.out)[0][3] == "–"
    for name, value in (("price_gpu_hour", 2.5), ("currency", "EUR")):
        object.__setattr__(world.settings, name, value)
    assert "cost, EUR" in agon("usage").out
    assert json.loads(agon("usage", "--json").out)["prices"]["gpu_hour"] == 2.5
    assert agon("usage", "--by", "colour").code == 2
