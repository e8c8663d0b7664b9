"""A worker's own log tells how far it is, and seldom enough."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.engine.events import Event, RolledBack, RunFinished, RunStarted, StepDone, Tick, Warned
from trainer.launch import diary
from trainer.launch.diary import Diary


def tick(step: int) -> Tick:
    return Tick(step, 64 * step, {}, images_per_second=812.4, eta_seconds=1.0, total_images=9600)


def test_a_log_says_where_its_worker_began_how_far_it_is_and_how_it_ended(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(diary.time, "monotonic", lambda: now[0])
    told: list[tuple[float, Event]] = [
        (0, RunStarted(0, 0, total_images=9600, resumed=False)),
        (0, tick(50)),
        (0, StepDone(50, 3200, last=False)),
        (30, tick(100)),
        (31, tick(150)),
        (0, Warned(150, 9600, "shard-3.tar is skipped")),
        (0, RolledBack(100, 6400, "NaN in G", from_step=150, lr_factor=0.5, count=1)),
        (0, RunStarted(100, 6400, total_images=9600, resumed=True)),
        (0, tick(150)),
        (0, RunFinished(150, 9600, outcome="completed")),
    ]
    listener, run = Diary(), Any
    for seconds, event in told:
        now[0] += seconds
        listener.handle(event, run)  # type: ignore[arg-type]
    listener.close()
    assert capsys.readouterr().out.splitlines() == [
        "training begins at step 0, 0 images",
        "step 50, 3,200 images, 812 images/s",
        "step 150, 9,600 images, 812 images/s",
        "step 150, 9,600 images: warning: shard-3.tar is skipped",
        "rolled back from step 150 to step 100, 6,400 images: NaN in G",
        "training goes on at step 100, 6,400 images",
        "step 150, 9,600 images, 812 images/s",
        "training ended at step 150, 9,600 images: completed",
    ]
