"""A run whose folder is lost goes on with its second copy, on a real stack."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from embedded import Stack

from service.client import Client, Conflict, Job

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(600)]
SET = {
    "arch.g_width": 8, "arch.d_width": 8, "train.batch": 16, "train.log_steps": 5, "data.decode_threads": 0, "samples.every_steps": 50,
    "checkpoint.every_steps": 20, "evaluation.metrics": [], "train.images": 50_000_000, "resources.workers": 1,
}  # fmt: skip


@pytest.fixture
def mirrored(tmp_path: Path) -> Iterator[Stack]:
    own = Stack(tmp_path / "home")
    (tmp_path / "copies").mkdir()
    own.env["AGON_MIRROR"] = str(tmp_path / "copies")
    own.start()
    yield own
    own.agon("down")


def _until(holds: Callable[[], Any]) -> None:
    end = time.monotonic() + 240
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.3)


def _trains(client: Client, job: str, attempt: int) -> bool:
    found: Job = client.job(job)
    assert not found.ended, f"{found.failure or found.reason}\n{client.logs(job, tail=40)}"
    return found.attempt == attempt and found.state == "running" and bool(found.progress and found.progress.step >= 20)


def _deleted(client: Client, job: str) -> bool:
    try:
        client.delete(job)
    except Conflict:  # its driver is still leaving
        return False
    return True


def test_a_run_whose_folder_is_lost_goes_on_from_its_copy_and_tells_every_event_once(
    mirrored: Stack, tmp_path: Path
) -> None:
    with mirrored.client() as client:
        job = client.submit(recipe="dcgan-digits", set=SET).id
        _until(lambda: _trains(client, job, 1))
        client.pause(job)
        _until(lambda: client.job(job).state == "paused")
        folder, copy = mirrored.layout.home / "jobs" / job, tmp_path / "copies" / job
        newest = max(path.parent.name for path in folder.glob("checkpoints/step-*/manifest.json"))
        _until(lambda: (copy / "checkpoints" / newest / "manifest.json").exists())
        _until(lambda: (copy / "events.jsonl").exists())
        shutil.rmtree(folder)
        client.resume(job)
        _until(lambda: _trains(client, job, 2))
        client.cancel(job)
        client.wait(job)
        events = list(client.events(job))
        starts = [event.data["resumed_from"] for event in events if event.kind == "started"]
        assert starts == [None, int(newest.removeprefix("step-"))]
        assert "was brought back from" in client.logs(job, attempt=2)
        progress = [event.data["step"] for event in events if event.kind == "progress" and "step" in event.data]
        assert progress == sorted(set(progress)), "no step is told twice, and none of the second attempt is lost"
        assert (folder / "samples").is_dir()
        _until(lambda: _deleted(client, job))
        assert not [path for path in copy.rglob("*") if path.is_file()]
