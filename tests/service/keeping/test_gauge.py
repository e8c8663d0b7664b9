"""The disk: how full it is, what takes it, and a warning before it is full; at a bounded cost."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest
from checkpoints import save

from service.disk import gauge as gauges
from service.disk.gauge import Fill, Gauge, measure
from service.disk.watch import warning, watch
from service.elsewhere import Elsewhere
from service.settings import Settings


def fill(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    return path


@pytest.fixture
def settings(parts: Any) -> Settings:
    found: Settings = parts.settings
    return found


@pytest.fixture
def lived_in(settings: Settings) -> Settings:
    """Folders as jobs and searches leave them."""
    root = settings.jobs_root
    state = fill(root / "j-1/checkpoints/step-000000500/state.safetensors", 1000)
    (root / "j-1/pinned/step-000000500").mkdir(parents=True)
    os.link(state, root / "j-1/pinned/step-000000500/state.safetensors")
    (root / "j-2/checkpoints/step-000000500").mkdir(parents=True)
    os.link(state, root / "j-2/checkpoints/step-000000500/state.safetensors")
    fill(root / "j-2/origin/step-000000001/state.safetensors", 50)
    fill(root / "j-1/samples/step-000000500.png", 300)
    fill(root / "s-1/trials/t-00000/samples/step-000000500.png", 40)
    fill(root / "s-1/trials/t-00000/checkpoints/step-000000500/state.safetensors", 500)
    fill(root / "s-1/best/t-00000-500/model/generator.pt2", 70)
    fill(root / "j-1/driver-1.log", 20)
    fill(root / "j-1/events.jsonl", 5)
    fill(root / "j-1/job.json", 7)
    fill(settings.cache_dir / "extractor.pt", 11)
    (root / "j-1/elsewhere").symlink_to("/usr")
    os.mkfifo(root / "j-1/pipe")
    return settings


COUNTED = {"checkpoints": 1550, "samples": 340, "models": 70, "logs": 25, "other": 7, "cache": 11}


def test_what_takes_the_disk_is_counted_by_what_it_is_and_what_has_several_names_once(lived_in: Settings) -> None:
    assert measure(lived_in) == COUNTED


def test_it_is_told_with_what_is_free(own: Any, lived_in: Settings) -> None:
    quick = own.get("/v1/disk", params={"sizes": False}).json()
    assert (quick["sizes"], quick["counted_at"], quick["total"] > 0) == (None, None, True)
    found = own.get("/v1/disk").json()
    assert found["sizes"] == COUNTED
    assert 0 < found["free"] <= found["total"]
    assert (found["path"], found["low"], found["warning"]) == (str(lived_in.jobs_root), False, "")
    fill(lived_in.jobs_root / "j-3/samples/a.png", 10_000)
    assert own.get("/v1/disk").json()["sizes"] == COUNTED, "counted again only once it is stale"
    assert own.get("/v1/disk", headers={"Authorization": ""}).status_code == 401


def test_before_any_job_has_run_there_is_a_disk_too(own: Any, settings: Settings) -> None:
    assert not settings.jobs_root.exists()
    found = own.get("/v1/disk").json()
    assert (found["total"] > 0, set(found["sizes"].values())) == (True, {0})


def test_who_asks_does_not_wait_for_a_long_count_and_begins_no_second_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    counted, go_on = [], threading.Event()

    def long(_: Settings) -> dict[str, int]:
        counted.append(1)
        go_on.wait(20)
        return {"other": len(counted)}

    monkeypatch.setattr(gauges, "measure", long)
    monkeypatch.setattr(gauges, "FIRST_SECONDS", 0.01)
    gauge = Gauge(settings)
    assert [gauge.count() for _ in range(5)] == [None] * 5
    go_on.set()
    while gauge.count() is None:
        time.sleep(0.01)
    assert counted == [1]
    go_on.clear()
    monkeypatch.setattr(gauges, "STALE_SECONDS", 0.0)
    assert gauge.count().sizes == {"other": 1}, "the one before, while the next is made"  # type: ignore[union-attr]
    go_on.set()
    while gauge.count().sizes == {"other": 1}:  # type: ignore[union-attr]
        time.sleep(0.01)


def test_a_count_that_fails_keeps_the_one_before_and_is_made_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "STALE_SECONDS", 0.0)
    monkeypatch.setattr(gauges, "measure", lambda _: {"other": 1})
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    gauge = Gauge(settings)
    while gauge.count() is None:
        time.sleep(0.01)

    def failing(_: Settings) -> dict[str, int]:
        raise OSError("away")

    monkeypatch.setattr(gauges, "measure", failing)
    for _ in range(3):
        assert gauge.count().sizes == {"other": 1}  # type: ignore[union-attr]


def test_less_than_the_threshold_free_is_low(own: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gauge, "fill", lambda _: Fill(10**12, 4 * 10**10))
    object.__setattr__(settings, "disk_low", 0.05)
    found = own.get("/v1/disk").json()
    assert found["low"]
    assert found["warning"].startswith("the disk of the runs is nearly full: 40 GB of 1.0 TB are free; POST /v1/gc")
    object.__setattr__(settings, "disk_low", 0.04)
    assert not own.get("/v1/disk").json()["low"]


def test_a_disk_that_can_not_be_looked_at_is_told(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def stale(_: Gauge) -> Fill:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(Gauge, "fill", stale)
    reply = own.get("/v1/disk")
    assert (reply.status_code, "Stale file handle" in reply.json()["detail"]) == (503, True)


def test_the_log_says_once_that_it_is_low_and_once_that_it_is_not(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    fills: list[Fill | OSError] = [Fill(100, 50), Fill(100, 9), OSError(), Fill(100, 5), Fill(100, 20), Fill(100, 1)]

    class Filled(Gauge):
        def fill(self) -> Fill:
            found = fills.pop(0)
            if isinstance(found, OSError):
                raise found
            return found

    async def pause(_: float) -> None:
        if not fills:
            raise asyncio.CancelledError

    async def run() -> None:
        with pytest.raises(asyncio.CancelledError):
            await watch(Filled(settings), Elsewhere(), 0.1, pause)

    caplog.set_level(logging.INFO, logger="agon.disk")
    asyncio.run(run())
    assert [(record.levelname, record.message[:39]) for record in caplog.records] == [
        ("WARNING", warning(Fill(100, 9))[:39]), ("INFO", "the disk of the runs has room again"), ("WARNING", warning(Fill(100, 1))[:39]),
    ]  # fmt: skip


@pytest.mark.long
def test_ten_thousand_runs_are_counted_while_requests_go_before(own: Any, settings: Settings) -> None:
    root = settings.jobs_root
    for number in range(10_000):
        folder = root / f"j-{number:012x}"
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "job.json").touch()
        (folder / "driver-1.log").write_bytes(b"x" * 10)
    slowest, found = 0.0, None
    while found is None:
        began = time.perf_counter()
        own.get("/healthz")
        slowest = max(slowest, time.perf_counter() - began)
        found = own.get("/v1/disk").json()["sizes"]
    assert found["logs"] == 100_000
    assert slowest < 2.0


def test_the_shape_of_a_checkpoint_is_known_to_the_gauge(settings: Settings) -> None:
    path = save(settings.jobs_root / "j-1", 500)
    assert measure(settings)["checkpoints"] == sum(file.stat().st_size for file in path.iterdir())
