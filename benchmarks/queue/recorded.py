"""The same question on a real stack: jobs that train are submitted one after the other, and each is asked when it will start.

Nothing is simulated: the stack is the one that `agon up` starts, with two CPUs, and what it says by REST is compared with when it
started the jobs. Small jobs and few of them: a run takes a quarter of an hour.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.common import Report, arguments
from service.client import Client, Job
from service.local import down, up
from service.stack.layout import Layout
from service.stack.parts import Config
from service.stack.ports import Ports, free_ports

CPUS = 2
KEPT = 0.8
IMAGES = (5_000, 20_000, 40_000)
"""Of gan-digits, which trains some thousand images a second on one CPU: jobs of a quarter of a minute to one."""
PAUSE = 12.0
"""Mean seconds between two submissions: jobs come faster than they can be trained, so that a line forms."""
SETTLED = 4.0
"""Seconds after a submission at which it is asked: the first round has looked at it by then."""
PATIENCE = 3600.0


def main() -> int:
    """0 if the target holds."""
    parser = arguments("queue.recorded", __doc__ or "")
    parser.add_argument("--jobs", type=int, default=24, help="how many are submitted (default: 24; 4 with --quick)")
    options = parser.parse_args()
    report, count = Report("queue.recorded", options), 4 if options.quick else options.jobs
    with stack() as client:
        rows = record(client, count, random.Random(options.seed))
    for row in rows:
        report.row(**row)
    told = [row for row in rows if row["late_s"] is not None]
    report.note(
        f"{len(rows)} of {count} jobs on a real stack of {CPUS} CPUs had to wait; {len(told)} of them were told an end"
    )
    if told:
        share = sum(row["early_s"] <= row["started_s"] <= row["late_s"] for row in told) / len(told)
        report.at_least("starts within what was forecast, on a real stack", KEPT, measured=share)
    return report.finish()


@contextmanager
def stack() -> Iterator[Client]:
    """An embedded stack in a folder of its own, on free ports."""
    with tempfile.TemporaryDirectory(prefix="agon-queue-") as folder:
        layout = Layout(Path(folder))
        api, mlflow, dashboard, gcs, serve = free_ports(5)
        ports = Ports(api=api, mlflow=mlflow, dashboard=dashboard, gcs=gcs, serve=serve)
        started = up(Config(layout, ports, cpus=CPUS))
        try:
            with Client(started.record.parts["api"].url, layout.token.read_text().strip(), patience=60.0) as client:
                yield client
        finally:
            down(layout)


def record(client: Client, count: int, chance: random.Random) -> list[dict[str, Any]]:
    """Of each job that had to wait, in seconds from its submission: what it was told first, and when it started."""
    begun = time.monotonic()
    due = [chance.expovariate(1 / PAUSE) for _ in range(count)]
    due = [sum(due[: index + 1]) for index in range(count)]
    submitted: dict[str, tuple[float, Job]] = {}
    told: dict[str, dict[str, Any]] = {}
    started: dict[str, float] = {}
    while time.monotonic() - begun < PATIENCE and len(started) < count:
        now = time.monotonic() - begun
        while len(submitted) < count and due[len(submitted)] <= now:
            job = client.submit(recipe="gan-digits", set=drawn(chance))
            submitted[job.id] = (time.monotonic() - begun, job)
        for job_id, (came, job) in submitted.items():
            if job_id in started:
                continue
            shown = client.job(job_id)
            since = time.monotonic() - begun - came
            if shown.state not in ("submitted", "queued"):
                started[job_id] = since
            elif (
                job_id not in told and since >= SETTLED and shown.waiting is not None and shown.waiting.eta is not None
            ):
                told[job_id] = _told(shown, job)
        time.sleep(0.5)
    for job_id in submitted:
        client.wait(job_id)
    return [
        {**told[job_id], "started_s": started[job_id]} for job_id in submitted if job_id in told and job_id in started
    ]


def drawn(chance: random.Random) -> dict[str, Any]:
    """What a job is: small, of one or two workers, of one of three priorities."""
    priority = chance.choices([50, 20, 80], [70, 15, 15])[0]
    return {
        "train.images": chance.choice(IMAGES),
        "resources.workers": chance.choice([1, 1, 2]),
        "queue.priority": priority,
        "queue.preemptible": priority == 20,
        "evaluation.every_steps": None,
        "publish": None,
    }


def _told(shown: Job, job: Job) -> dict[str, Any]:
    assert shown.waiting is not None
    assert shown.waiting.eta is not None
    eta, now = shown.waiting.eta, datetime.now(UTC)
    return {
        "priority": shown.priority,
        "asked_s": (now - job.created_at).total_seconds(),
        "position": shown.waiting.position,
        "sure": eta.sure,
        "early_s": (eta.early - job.created_at).total_seconds(),
        "late_s": None if eta.late is None else (eta.late - job.created_at).total_seconds(),
    }


if __name__ == "__main__":
    raise SystemExit(main())
