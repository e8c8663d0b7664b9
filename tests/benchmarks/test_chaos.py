"""Chaos, bounded; and that its judge sees each promise broken."""

from __future__ import annotations

import json
import random
import shutil
import socket
import threading
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos.chain import advance, loss, weights
from benchmarks.chaos.clock import MachineClock
from benchmarks.chaos.embedded import PARTS, Deck, each_once
from benchmarks.chaos.judge import Verdict, differences, metrics, starts
from benchmarks.chaos.people import LOG_STEPS
from benchmarks.chaos.proxy import Proxy
from benchmarks.chaos.rounds import play
from trainer.wire import EventKind, WireEvent

SEED = 7


def progress(*steps: int, first: int = 1, seed: int = SEED) -> list[WireEvent]:
    """Events of a training that reports these steps."""
    values = [{"metrics": {"loss": loss(weights(seed, step))}} for step in steps]
    return [
        WireEvent(
            seq=seq, attempt=1, time=datetime.now(UTC), kind=EventKind.PROGRESS, step=step, images=step, data=data
        )
        for seq, (step, data) in enumerate(zip(steps, values, strict=True), first)
    ]


def test_the_chain_can_be_told_in_advance() -> None:
    state = weights(SEED, 3)
    assert advance(state, SEED, 4) == weights(SEED, 4)
    assert weights(SEED + 1, 4) != weights(SEED, 4)


def test_an_undisturbed_training_breaks_no_promise() -> None:
    assert list(metrics(progress(5, 10, 15), SEED, begun=0, end=17)) == []
    assert list(metrics(progress(10, 15), SEED, begun=5, end=15)) == []


@pytest.mark.parametrize(
    ("told", "what"),
    [
        (progress(5, 15), "step 10 has none"),
        (progress(5, 10, 10, 15), "step 10 has"),
        (progress(5, 10, 15, seed=SEED + 1), "step 5 has"),
        (progress(5, 7, 10, 15), "step 7 has"),
    ],
)
def test_a_metric_that_is_missing_twice_or_wrong_is_seen(told: list[WireEvent], what: str) -> None:
    assert LOG_STEPS == 5
    assert any(what in problem for problem in metrics(told, SEED, begun=0, end=15))


def test_an_event_that_is_lost_told_twice_or_altered_is_seen() -> None:
    written = progress(5, 10, 15)
    assert list(differences(written, written)) == []
    assert list(differences(written, written[:2]))
    assert list(differences(written, [*written, written[2]]))
    altered = written[1].replace(data={"metrics": {"loss": 0.5}})
    assert list(differences(written, [written[0], altered, written[2]]))


@pytest.mark.parametrize(
    ("logged", "holds"),
    [
        ([20, 40, 60], True),
        ([20, 33, 40, 60], True),
        ([20, 60], False),
        ([20, 40, 40, 60], False),
        ([20, 40, 47, 60], False),
        ([40, 20, 60], False),
    ],
)
def test_a_step_is_logged_once_and_beside_what_is_due_only_where_a_training_stopped(
    logged: list[int], holds: bool
) -> None:
    assert each_once(logged, [20, 40, 60], {33}) is holds


def test_every_part_of_the_embedded_stack_has_its_turn_and_one_that_was_not_there_before_any_comes_again() -> None:
    deck, same = Deck(random.Random(SEED)), Deck(random.Random(SEED))
    turns = [[deck.draw() for _ in PARTS] for _ in range(3)]
    assert [Counter(turn) for turn in turns] == [Counter(PARTS)] * 3
    assert [[same.draw() for _ in PARTS] for _ in range(3)] == turns
    assert turns[0] != turns[1], "by chance"
    away = deck.draw()
    deck.put_back(away)
    rest = [deck.draw() for _ in PARTS]
    assert (Counter(rest), rest[-1]) == (Counter(PARTS), away)


def test_two_starts_of_an_attempt_are_one_too_many_unless_ray_had_forgotten_the_first() -> None:
    def start(head: str, attempt: int = 1, *, two: bool = False) -> dict[str, Any]:
        return {"job": "j", "attempt": attempt, "head": head, "two_at_once": two}

    for noted, count in (
        ([start("0"), start("0", 2), start("1", 2)], 0),
        ([start("0"), start("0")], 1),
        ([start("0"), start("0", 2, two=True)], 1),
    ):
        verdict = Verdict()
        starts(verdict, noted)
        assert verdict.counts["twice"] == count


def test_a_clock_that_is_set_is_set_for_all_its_processes(tmp_path: Path) -> None:
    one, other = MachineClock(tmp_path / "clock"), MachineClock(tmp_path / "clock")
    one.set(-40.0)
    assert other.ahead == -40.0


@pytest.mark.parametrize("rough", [0.0, pytest.param(1.0, marks=pytest.mark.long)])
def test_the_proxy_passes_all_on_until_it_is_made_rough(rough: float) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = Proxy([server.getsockname()[1]], seed=0)
        proxy.rough = rough

        def echo() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(connection.recv(100))

        threading.Thread(target=echo, daemon=True).start()
        whole = 0
        for _ in range(8):
            with suppress(OSError), socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
                client.sendall(b"all of it")
                whole += client.recv(100) == b"all of it"
        proxy.close()
    assert (whole == 8) == (rough == 0.0)
    assert bool(proxy.harm) == (rough > 0)


@pytest.mark.system
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("database", "replicas", "kills"),
    [
        ("sqlite", 1, 4),
        pytest.param("sqlite", 2, 20, marks=pytest.mark.long),
        pytest.param("postgres", 2, 20, marks=pytest.mark.long),
    ],
)
def test_while_processes_are_killed_no_promise_is_broken(database: str, replicas: int, kills: int) -> None:
    if database == "postgres" and shutil.which("initdb") is None:
        pytest.skip("PostgreSQL's initdb is not on PATH")
    happened, verdict = play(
        database, replicas, kills=kills, seed=replicas, **({} if kills > 10 else {"crowd": 2, "waiting": 2})
    )
    assert verdict.counts == dict.fromkeys(verdict.counts, 0), json.dumps(verdict.cases, indent=1)
    assert happened["kills"] >= kills
    assert happened["starts"] > 0
