"""A Ray with drivers that do what a test tells them, and report as real ones do."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import forks

from service.gateway.fake_ray import FakeRay
from service.gateway.ray_jobs import Node, RayAwayError, RayFailedError, RayRefusedError, RayStatus

FATAL = ("bad-data", "out-of-memory")
RETRYABLE = ("worker-lost", "cluster-failed")


@dataclass
class Driver:
    """One, as a process."""

    name: str
    job: str
    attempt: int
    file: Path
    cpus: float
    """That its workers take."""
    late: bool = False
    """Whether it was started by a reconciler that had lost its lease: nobody can prevent that, and the sweep ends it."""
    alive: bool = True
    token: str = ""
    """Empty: it has not begun to run."""
    told_attempt: int = 0
    """The attempt that its file names."""
    started: bool = False
    waited: bool = False
    heard: bool = False
    """That it shall stop."""
    said: str = ""
    """Its last word."""

    @property
    def begun(self) -> bool:
        """Whether it runs."""
        return bool(self.token)


@dataclass
class Spool:
    """What a job has written down, of all attempts."""

    folder: Path
    events: list[dict[str, Any]] = field(default_factory=list)
    acked: int = 0
    """Delivered."""
    step: int = 0


@dataclass(frozen=True)
class Batch:
    """A request that was on its way once, and may come again."""

    job: str
    token: str
    events: tuple[dict[str, Any], ...]


class Cluster(FakeRay):
    """Ray whose free CPUs follow from the drivers that run."""

    def __init__(self, cpus: float, clock: Callable[[], datetime]) -> None:
        super().__init__(cpus)
        self.cpus, self.clock = cpus, clock
        self.drivers: dict[str, Driver] = {}
        self.spools: dict[str, Spool] = {}
        self.forgotten: set[str] = set()
        """Names that it knew, before it forgot them."""
        self.late = False
        """Whether what is started now comes too late."""
        self.polite = False
        """Whether drivers that Ray stops have a last word."""
        self.lost: set[tuple[str, int]] = set()
        """Attempts that were lost, by job."""
        self.silent: dict[tuple[str, int], datetime] = {}
        """When attempts said their last word."""
        self.failures: dict[str, int] = {}
        """How often a submission ended in an error of Ray's own."""

    @property
    def alive(self) -> list[Driver]:
        """The drivers that there are."""
        return [driver for driver in self.drivers.values() if driver.alive]

    def of(self, job: str) -> list[Driver]:
        """Those of a job."""
        return [driver for driver in self.alive if driver.job == job]

    def submit(self, submission_id: str, entrypoint: str, metadata: dict[str, str]) -> None:
        """See RayJobs."""
        known, job, attempt = submission_id in self.jobs, metadata["agon_job"], int(metadata["agon_attempt"])
        try:
            super().submit(submission_id, entrypoint, metadata)
        except RayRefusedError:
            self.lost.add((job, attempt))
            raise
        except RayAwayError:
            raise
        except RayFailedError:
            self.failures[submission_id] = self.failures.get(submission_id, 0) + 1
            if self.failures[submission_id] >= 10:
                self.lost.add((job, attempt))
            raise
        if known:
            return
        file = Path(shlex.split(entrypoint)[-1])
        content = json.loads(file.read_text())
        asked = content["spec"].get("base", content["spec"])["resources"]
        cpus = asked["workers"] * asked["cpus_per_worker"]
        self.drivers[submission_id] = Driver(submission_id, job, attempt, file, cpus, late=self.late)
        begun = (content.get("fork") or {}).get("step", 0)
        self.spools.setdefault(job, Spool(file.parent, step=begun))

    def stop(self, submission_id: str) -> None:
        """See RayJobs."""
        super().stop(submission_id)
        driver = self.drivers.get(submission_id)
        if driver is not None and driver.alive:
            if self.polite and driver.started and not driver.said:
                self.say(driver, "stopped")
            driver.alive = False

    def nodes(self) -> list[Node]:
        """See RayJobs."""
        used = sum(driver.cpus for driver in self.alive if driver.begun)
        self.cluster = [Node("node-1", self.cpus, max(0.0, self.cpus - used))]
        return super().nodes()

    def forget(self) -> None:
        """See FakeRay; its drivers die with it."""
        self.forgotten |= set(self.jobs)
        for driver in self.alive:
            self.die(driver)
        super().forget()

    # -- what a driver does

    def begin(self, driver: Driver) -> None:
        """It reads its file."""
        content = json.loads(driver.file.read_text())
        driver.token, driver.told_attempt = content["token"], content["attempt"]
        self.move(driver.name, RayStatus.RUNNING)

    def write(self, driver: Driver, name: str, /, **data: Any) -> None:
        """Into its job's log of events."""
        spool = self.spools[driver.job]
        seq, when = len(spool.events) + 1, self.clock().isoformat()
        event = {"seq": seq, "attempt": driver.told_attempt or driver.attempt, "time": when, "kind": name}
        spool.events.append({**event, "step": spool.step, "images": 64 * spool.step, "data": data})
        with (spool.folder / "events.jsonl").open("a") as file:
            file.write(json.dumps(spool.events[-1]) + "\n")

    def save(self, driver: Driver, spec: dict[str, Any]) -> int:
        """A checkpoint; its step."""
        spool = self.spools[driver.job]
        spool.step += 1
        forks.trained(spool.folder, spec, spool.step)
        self.write(driver, "checkpoint", path=f"checkpoints/step-{spool.step:09d}")
        return spool.step

    def say(self, driver: Driver, word: str) -> None:
        """Its last."""
        driver.said = word
        self.silent[driver.job, driver.attempt] = self.clock()
        if word in ("completed", "stopped"):
            self.write(driver, "finished", outcome=word)
        else:
            self.write(driver, "failed", kind=word, reason=f"it is {word}")
            if word in RETRYABLE:
                self.lost.add((driver.job, driver.attempt))

    def leave(self, driver: Driver) -> None:
        """After its last word."""
        driver.alive = False
        ended = RayStatus.SUCCEEDED if driver.said in ("completed", "stopped") else RayStatus.FAILED
        self.move(driver.name, ended, exit_code=int(ended is RayStatus.FAILED))

    def die(self, driver: Driver) -> None:
        """Without one, or with it: the process is killed."""
        driver.alive = False
        if not driver.said:
            self.lost.add((driver.job, driver.attempt))
        self.move(driver.name, RayStatus.FAILED, exit_code=-9)
