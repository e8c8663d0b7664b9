"""A driver as Ray starts it, `benchmarks.chaos.driver JOB.json`: forks a worker, and another where that is killed; tells the end.

It notes its start and holds a lock as long as it or a worker lives, so that the judge sees every start, and two at once.
"""

from __future__ import annotations

import fcntl
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from benchmarks.chaos import points, worker
from benchmarks.chaos.clock import MachineClock, install
from benchmarks.chaos.death import STARTS, Doom, append, die_with_parent
from trainer.launch.stop import stop_file
from trainer.sinks.report import Reporter
from trainer.sinks.spool import Spool
from trainer.wire import EventKind, FailureKind, JobFile

DOOMED = 0.25
"""Share of the workers, and of the drivers, that are told a point to die at."""


class Driver:
    """One attempt. Single-threaded while a worker may be forked."""

    def __init__(self, job: JobFile) -> None:
        self.job, self.world, self.node = job, Path(os.environ["CHAOS_WORLD"]), os.environ["CHAOS_NODE"]
        self.random = random.Random(f"{job.spec.train.seed} {job.attempt}")
        self.doom = self._doom("driver", points.DRIVER)

    def run(self) -> int:
        """An exit code."""
        install(MachineClock(self.world / "clocks" / self.node), ("trainer",))
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        with self._alone():
            return self._end(self._train())

    def _alone(self) -> IO[str]:
        """The lock, which the kernel takes from the dead. It is noted who else holds it."""
        held = (self.world / "alive" / self.job.job_id).open("w")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            two = False
        except OSError:
            two = True
        facts = {"job": self.job.job_id, "attempt": self.job.attempt, "two_at_once": two, "at": time.monotonic()}
        append(self.world / STARTS, facts | {"head": (self.world / "ray" / "memory").read_text()})
        return held

    def _stop(self) -> None:
        with suppress(OSError):
            stop_file(self.job).write_text("the driver got SIGTERM")

    def _train(self) -> int | None:
        """How the last worker ended; None: too many were killed."""
        for failures in range(self.job.spec.retry.worker_failures + 1):
            doom = self._doom("worker", points.WORKER)
            mine = os.getpid()
            pid = os.fork()
            if pid == 0:
                self._as_worker(doom, mine)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if code in (worker.COMPLETED, worker.STOPPED):
                return code
            if failures < self.job.spec.retry.worker_failures:
                spool = Spool(Path(self.job.job_dir))
                spool.append(self.job.attempt, EventKind.RESTARTED, data={"reason": f"its worker ended with {code}"})
                spool.close()
        return None

    def _as_worker(self, doom: Doom, driver: int) -> None:
        code = 1
        try:
            die_with_parent()  # as Ray's workers end with their driver
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if os.getppid() == driver:  # else it died before that
                code = worker.Worker(self.job, doom).run()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _end(self, code: int | None) -> int:
        with Reporter(self.job) as reporter:
            self.doom.at("before its last word")
            if code is None:
                reporter.failed(FailureKind.WORKER_LOST, "its workers were killed")
            else:
                reporter.finished("completed" if code == worker.COMPLETED else "stopped")
            self.doom.at("after its last word")
        return 1 if code is None else 0

    def _doom(self, part: str, where: Mapping[str, int]) -> Doom:
        return Doom(self.world, part, points.told(where, self.random) if self.random.random() < DOOMED else "")


def main(arguments: list[str]) -> int:
    """See the module."""
    return Driver(JobFile.model_validate_json(Path(arguments[0]).read_bytes())).run()
