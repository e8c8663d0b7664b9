"""Which promises were broken, once all is calm: by what the API answers, by what lies in the jobs' folders, and by every start."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.chaos.chain import advance, loss, weights
from benchmarks.chaos.death import STARTS, lines
from benchmarks.chaos.people import LOG_STEPS, Asked, Ledger
from service.client import Client, Job, NotFound
from trainer.errors import CheckpointError
from trainer.origin.facts import STATE, header
from trainer.origin.hold import choose
from trainer.sinks.spool import SpoolReader
from trainer.wire import EventKind, WireEvent

PROMISES = {
    "lost": "acknowledged submissions lost",
    "twice": "submissions or attempts started twice",
    "stuck": "jobs stuck",
    "ended": "jobs that ended otherwise than asked",
    "events": "events lost, told twice or altered",
    "metrics": "metrics missing, twice or wrong",
    "weights": "final weights that differ from an undisturbed training's",
    "answers": "answers that are the product's own failure",
}
"""Name of a count, and what it counts."""
ARRIVAL_SECONDS = 20.0
"""So long after its end the last events of a job may come."""
ALL = 10**6


@dataclass
class Verdict:
    """Broken promises by their names, with the cases."""

    cases: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in PROMISES})

    def add(self, promise: str, case: str) -> None:
        """One more."""
        self.cases[promise].append(case)

    @property
    def counts(self) -> dict[str, int]:
        """How many of each."""
        return {name: len(cases) for name, cases in self.cases.items()}


def judge(world: Path, ledger: Ledger, client: Client, stuck: Iterable[Job]) -> Verdict:
    """All promises of one world."""
    verdict = Verdict()
    for job in stuck:
        verdict.add("stuck", f"{job.id} {job.name} is {job.state}, desired {job.desired}: {job.reason}")
    for said in ledger.broken:
        verdict.add("answers", said)
    _submissions(verdict, ledger, client)
    starts(verdict, lines(world / STARTS))
    by_name = {asked.key: asked for asked in ledger.asked}
    for job in client.every_job(limit=200):
        if job.ended:
            _job(verdict, world / "home" / "jobs" / job.id, job, by_name[job.name], client)
    return verdict


def _submissions(verdict: Verdict, ledger: Ledger, client: Client) -> None:
    for asked in ledger.known():
        try:
            found = client.job(str(asked.id))
        except NotFound:
            verdict.add("lost", f"{asked.id} {asked.key}")
            continue
        if found.name != asked.key:
            verdict.add("lost", f"{asked.id} is {found.name}, and was {asked.key}")
    for name, count in Counter(job.name for job in client.every_job(limit=200)).items():
        if count > 1:
            verdict.add("twice", f"{count} jobs of the submission {name}")


def starts(verdict: Verdict, noted: list[dict[str, Any]]) -> None:
    """An attempt starts once; again only on a Ray that has forgotten all, and all of whose drivers are dead."""
    attempts = Counter((start["job"], start["attempt"], start["head"]) for start in noted)
    for (job, attempt, _), count in attempts.items():
        if count > 1:
            verdict.add("twice", f"{job} attempt {attempt} started {count} times")
    for start in noted:
        if start["two_at_once"]:
            verdict.add("twice", f"{start['job']} attempt {start['attempt']} started beside another driver of the job")


def _job(verdict: Verdict, folder: Path, job: Job, asked: Asked, client: Client) -> None:
    """One that has ended."""
    cancelled = job.state == "cancelled" and asked.to_end
    if job.state != "succeeded" and not cancelled:
        verdict.add("ended", f"{job.id} {job.name}: {job.state}, {job.reason}")
    written = SpoolReader(folder).after(0, ALL)
    told = _told(client, job.id, len(written))
    for problem in differences(written, told):
        verdict.add("events", f"{job.id}: {problem}")
    begun = job.fork.step if job.fork else 0
    step, state = saved(folder)
    if state and state != weights(asked.seed, step):
        verdict.add("weights", f"{job.id} at step {step}")
    if job.state == "succeeded" and step != asked.steps:
        verdict.add("weights", f"{job.id} succeeded at step {step} of {asked.steps}")
    for problem in metrics(told, asked.seed, begun, step):
        verdict.add("metrics", f"{job.id}: {problem}")


def saved(folder: Path) -> tuple[int, bytes]:
    """Step and weights of a job's newest checkpoint, read without torch; (0, nothing) without one."""
    try:
        checkpoint, found = choose(folder)
    except CheckpointError:
        return 0, b""
    told, start = header(checkpoint / STATE)
    (tensor,) = told.values()
    begin, end = tensor["data_offsets"]
    return found.step, (checkpoint / STATE).read_bytes()[start + begin : start + end]


def _told(client: Client, job: str, count: int) -> list[WireEvent]:
    """All that the API tells of it, as soon as it tells that many."""
    until = time.monotonic() + ARRIVAL_SECONDS
    while True:
        found = [
            WireEvent(seq=int(e.id), attempt=e.attempt, time=e.time, kind=EventKind(e.kind), step=e.step, images=e.images, data=e.data)
            for e in client.events(job) if e.kind != "state"
        ]  # fmt: skip
        if len(found) >= count or time.monotonic() > until:
            return found
        time.sleep(0.5)


def differences(written: list[WireEvent], told: list[WireEvent]) -> Iterable[str]:
    """Between what a job wrote down and what the API tells of it."""
    if [event.seq for event in told] != list(range(1, len(told) + 1)):
        yield f"numbered {[event.seq for event in told]}"
    if len(told) != len(written):
        yield f"{len(written)} written, {len(told)} told"
    for ours, theirs in zip(written, told, strict=False):
        if (ours.kind, ours.step, ours.attempt, ours.data) != (theirs.kind, theirs.step, theirs.attempt, theirs.data):
            yield f"event {ours.seq} is {ours.kind} of step {ours.step}, and told as {theirs.kind} of {theirs.step}"
            return


def metrics(told: list[WireEvent], seed: int, begun: int, end: int) -> Iterable[str]:
    """Each logged step behind `begun` and up to `end` once, with the value of an undisturbed training. Those behind `end`, of a
    worker that died before it saved, may be there; once, too."""
    values: dict[int, list[Any]] = {}
    for event in told:
        if event.kind is EventKind.PROGRESS:
            values.setdefault(event.step, []).append(event.data["metrics"]["loss"])
    state, last = weights(seed, 0), max([end, *values])
    for step in range(1, last + 1):
        state = advance(state, seed, step)
        due = step % LOG_STEPS == 0 and step > begun
        found = values.pop(step, [])
        if due and step <= end and not found:
            yield f"step {step} has none"
        if len(found) > 1 or (found and (not due or found[0] != loss(state))):
            yield f"step {step} has {found}, and should have {loss(state)}"
