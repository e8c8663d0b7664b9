"""Logs of a real job of two workers: what one that was killed had printed is there, by its rank, when all is gone."""

from __future__ import annotations

import os
import re
import signal
import threading
import time

import pytest
from embedded import Stack

from service.client import Client, Job, LogText

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(600), pytest.mark.xdist_group("stack")]
ENDLESS = {
    "arch.g_hidden": 32, "arch.d_hidden": 32, "train.batch": 16, "train.images": 50_000_000, "train.log_steps": 5,
    "checkpoint.every_steps": 20, "evaluation.samples": 32, "resources.workers": 2, "retry.worker_failures": 0,
    "retry.attempts": 1,
}  # fmt: skip


def _until(client: Client, job: str, reached: str, seconds: float = 240.0) -> Job:
    end = time.monotonic() + seconds
    while (found := client.job(job)).state != reached or (reached == "running" and not found.progress):
        assert time.monotonic() < end, f"{found.state}, {found.reason}\n{client.logs(job, tail=40)}"
        assert reached == found.state or not found.ended, f"{found.failure}\n{client.logs(job, tail=40)}"
        time.sleep(0.3)
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_the_last_lines_of_a_worker_that_died_are_there_by_its_rank(stack: Stack, number: signal.Signals) -> None:
    with stack.client() as client:
        job = client.submit(recipe="gan-digits", set=ENDLESS).id
        _until(client, job, "running")
        followed: list[LogText] = []
        follower = threading.Thread(target=lambda: followed.extend(client.follow_log(job, rank=1)))
        follower.start()
        while "step " not in (text := client.logs(job, rank=1)):
            time.sleep(0.2)
        head = re.match(r"--- rank 1 of 2, attempt 1: process (\d+) on ", text)
        assert head is not None
        os.kill(int(head[1]), number)
        ended = _until(client, job, "failed")
        assert ended.failure is not None
        assert (ended.failure.kind, ended.failure.rank) == ("worker-lost", 1)
        assert {log.rank for log in client.every_log_file(job)} == {None, 0, 1}
        lines = client.logs(job, rank=1).splitlines()
        assert lines[1].startswith("training begins at step 0"), lines
        assert re.match(r"step \d+, [\d,]+ images", lines[2]), lines
        assert client.logs(job, rank=0).count("starting: gan-digits") == 1
        if number is signal.SIGSEGV:
            crashed = [line.rank for line in client.search_in_logs(job, "Fatal Python error: Segmentation fault")]
            assert 1 in crashed
        else:
            assert len(lines) == len(set(lines)), "nothing is told twice"
        follower.join(60)
        assert "".join(piece.text for piece in followed) == client.logs(job, rank=1), (
            "and who followed it has all of it"
        )
    shown = stack.agon("show", job).stdout
    assert f"agon logs {job} --attempt 1 --rank 1" in shown
    assert "training begins" in stack.agon("logs", job, "--rank", "1").stdout


def test_a_trials_workers_have_logs_of_their_own(stack: Stack) -> None:
    search = {
        "name": "logged",
        "base": {
            "recipe": "gan-digits",
            "set": {name: value for name, value in ENDLESS.items() if "retry" not in name},
        },
        "space": {"optimizers.G.lr": [1e-4, 1e-3]},
        "metric": "fid",
        "algorithm": "grid",
        "trials": 2,
        "max_concurrent": 1,
        "evaluations": 1,
    }
    search["base"]["set"] |= {"train.images": 3200, "evaluation.metrics": ["fid"]}  # type: ignore[index]
    with stack.client() as client:
        ended = client.wait_search(client.search(search).id)
        assert ended.state == "succeeded", ended.failure
        for trial in client.every_trial(ended.id):
            first, second = (client.logs(f"{ended.id}/{trial.id}", rank=rank) for rank in (0, 1))
            assert re.match(r"--- rank 0 of 2, attempt 1: ", first), first
            assert "starting: " in first
            assert first.count("--- rank 0") == 1, "of one trial alone"
            assert second.splitlines()[-1].startswith("training ended at step 200, 3,200 images"), second
        assert "t-00001 completed" in client.search_logs(ended.id)
