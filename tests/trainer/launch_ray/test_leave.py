"""A node that leaves is gone in the time that it was given, however long Python and Ray take to start."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from trainer.launch import leave

BEGAN = 1_000.0


@pytest.fixture
def leaving(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `leave` on a clock of its own, on which Ray takes a while to hear of it → (status, until when Ray was told, end)."""

    def run(*arguments: str, drained_after: float, trained_until: float) -> tuple[int, float, float]:
        clock = SimpleNamespace(now=BEGAN)
        told: list[float] = []

        def drain(address: str, node: str | None, until: float) -> None:
            clock.now += drained_after
            told.append(until)

        def sleep(seconds: float) -> None:
            clock.now += seconds

        monkeypatch.setattr(leave, "time", SimpleNamespace(time=lambda: clock.now, sleep=sleep))
        monkeypatch.setattr(leave, "began", lambda: BEGAN)
        monkeypatch.setattr(leave, "drain", drain)
        monkeypatch.setattr(leave, "training_here", lambda: clock.now < BEGAN + trained_until)
        return leave.main([*arguments]), *told, clock.now - BEGAN

    return run


def test_what_the_start_takes_is_taken_from_the_time_and_not_added_to_it(leaving: Any) -> None:
    status, until, end = leaving("--seconds", "24", drained_after=20, trained_until=1_000)
    assert (status, until) == (0, BEGAN + 24)
    assert 24 <= end <= 24 + leave.LOOK_SECONDS


def test_it_ends_with_the_last_worker_of_a_training(leaving: Any) -> None:
    assert leaving("--seconds", "75", drained_after=5, trained_until=9)[2] == pytest.approx(9, abs=leave.LOOK_SECONDS)


def test_a_start_that_took_all_the_time_waits_no_longer(leaving: Any) -> None:
    assert leaving("--seconds", "10", drained_after=12, trained_until=1_000)[2] == 12
