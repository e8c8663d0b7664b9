"""Room is made on a real stack: two workers are paused for a job of a higher priority, killed in between, and lose no bit."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from embedded import Stack

from service.client import Client, Job

pytestmark = [
    pytest.mark.system,
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("stack"),
]
STEPS = 1200
TINY = {
    "arch.g_width": 8, "arch.d_width": 8, "train.batch": 16, "train.log_steps": 5, "data.decode_threads": 0,
    "samples.every_steps": 400, "checkpoint.every_steps": 100, "evaluation.samples": 64, "evaluation.metrics": ["kid"],
    "train.images": 16 * STEPS, "publish": None, "resources.workers": 2,
}  # fmt: skip
LOW = TINY | {"queue.priority": 20, "queue.preemptible": True}
HIGH = TINY | {"queue.priority": 80, "train.images": 16 * 20}


def until(client: Client, job: str, reached: Callable[[Job], object], seconds: float = 240.0) -> Job:
    end = time.monotonic() + seconds
    while not reached(found := client.job(job)):
        assert time.monotonic() < end, f"{found.state}, {found.reason}\n{client.logs(job, tail=40)}"
        assert not found.ended, f"{found.failure}\n{client.logs(job, tail=60)}"
        time.sleep(0.2)
    return found


def trained(steps: int) -> Callable[[Job], bool]:
    return lambda found: found.progress is not None and found.progress.step >= steps


def weights(stack: Stack, job: str) -> str:
    path: Path = stack.layout.home / "jobs" / job / "checkpoints" / f"step-{STEPS:09d}" / "state.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_paused_for_another_and_killed_in_between_it_ends_with_the_weights_of_the_undisturbed(stack: Stack) -> None:
    with stack.client() as client:
        undisturbed = client.wait(client.submit(recipe="dcgan-digits", set=TINY).id)
        assert undisturbed.state == "succeeded", client.logs(undisturbed.id, tail=60)

        low = client.submit(recipe="dcgan-digits", set=LOW).id
        until(client, low, trained(50))
        high = client.submit(recipe="dcgan-digits", set=HIGH).id
        told = until(client, low, lambda found: found.reason.startswith("paused for "))
        assert told.reason.startswith(f"paused for {high}, which has priority 80")
        # Whoever decided that is killed, in the middle of it; the next one goes on with what is written.
        psutil.Process(stack.record.parts["api"].pid).send_signal(signal.SIGKILL)
        stack.agon("up")
        first = client.wait(high)
        assert first.state == "succeeded", client.logs(high, tail=60)

        again = until(client, low, lambda found: found.attempt == 2 and found.progress and found.progress.step > 50)
        assert (again.failure, again.desired) == (None, "run")
        head = re.findall(r"--- rank 1 of 2, attempt 2: process (\d+) on ", client.logs(low, rank=1))
        os.kill(int(head[-1]), signal.SIGKILL)
        ended = client.wait(low)
        assert ended.state == "succeeded", client.logs(low, tail=60)
        assert weights(stack, low) == weights(stack, undisturbed.id)
        starts = [event.data["resumed_from"] for event in client.events(low) if event.kind == "started"]
        assert starts[0] is None
        assert starts[1] >= 50, "from what was saved when it made room"
        states = [event.data["state"] for event in client.events(low) if event.kind == "state"]
        assert "paused" not in states, "a person's pause is another thing"
