"""Entry point of a Ray job: `python -m trainer.launch.driver JOB_DIR/job.json`.

Connects to the cluster, trains through Ray Train, and reports what only it can know: that the job waits for resources
(Ray calls that running), and how it ended. Exit code 0 if the run completed or was stopped, 1 if it failed, 2 if the
job file can't be read.

This process trains nothing, so it imports no torch.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from trainer import spans, trace, tracking
from trainer.errors import judge
from trainer.launch import log, warm
from trainer.launch.brought import bring
from trainer.mirror.place import MirrorError
from trainer.proxies import go_direct
from trainer.sinks.report import Reporter
from trainer.sinks.spool import SpoolReader
from trainer.wire import EventKind, FailureKind, JobFile, read_run_file

LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 2.0
"""A start that waits longer than this for resources is reported as waiting."""


class Launch:
    """One attempt: trains in a thread while the main thread listens to signals and watches for the start."""

    def __init__(self, job: JobFile, reporter: Reporter) -> None:
        self._job, self._reporter = job, reporter
        self._done = threading.Event()
        self._failure: tuple[FailureKind, str] | None = None
        self._rank: int | None = None
        """Of the worker that failed, if one did."""
        self._outcome = "completed"
        self._stop_signal: str | None = None
        self._reader = SpoolReader(Path(job.job_dir))
        self._seen = reporter.last_seq
        self._waiting: str | None = None
        self._training: threading.Thread | None = None

    @property
    def inside_ray(self) -> bool:
        """Whether the thread is still in a call of Ray: the run was stopped before it started, and nobody waits for it."""
        return self._training is not None and self._training.is_alive()

    @property
    def failed(self) -> str | None:
        """The kind of failure that it ended with."""
        return str(self._failure[0]) if self._failure else None

    def run(self) -> int:
        """Train; report the end; return the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._training = threading.Thread(target=self._train, name="ray-train", daemon=True)
        self._training.start()
        self._watch()
        if self._failure is not None:
            kind, reason = self._failure
            log.say(f"failed ({kind}): {reason}", sys.stderr)
            with suppress(OSError):  # the disk may be what failed; the exit code and the log say it too
                self._reporter.failed(kind, reason, self._rank)
            return 1
        self._reporter.finished("stopped" if self._outcome == "stopped" else "completed")
        return 0

    def _train(self) -> None:
        from trainer.launch import preflight, ray_train

        try:
            if self._job.spec.publish is not None and (deleted := tracking.deleted_experiment(self._job)):
                self._failure = (deleted.kind, f"nothing was trained: {deleted}")
                return
            if reason := preflight.unfit(self._job):
                self._failure = (FailureKind.BAD_SPEC, reason)
                return
            if reason := preflight.refused(self._job.spec, self._job.max_nodes):
                self._failure = (FailureKind.OUT_OF_MEMORY, reason)
                return
            self._outcome = ray_train.run(self._job)
        except Exception as error:
            self._failure, self._rank = ray_train.verdict(error), judge(error).rank
        finally:
            self._done.set()

    def _watch(self) -> None:
        """Until training has ended: say what it waits for, and pass a stop on."""
        from trainer.launch.stop import stop_file

        began, started = time.monotonic(), False
        while not self._done.wait(LOOK_SECONDS if started else LOOK_SECONDS / 2):
            before, started = started, self._has_started(started)
            if before and not started:
                began = time.monotonic()
            wish = self._stop_signal or ("asked to by the control plane" if self._reporter.desired == "stop" else None)
            if wish and not started:
                self._outcome = "stopped"  # nothing runs yet, so there is nothing to save
                return
            if wish:
                with suppress(OSError):  # a full disk: tried again at the next look
                    stop_file(self._job).write_text(wish)
            if not started and (waited := time.monotonic() - began) > PATIENCE_SECONDS:
                self._say_waiting(waited)

    def _has_started(self, started: bool) -> bool:
        """Whether a worker group trains, as the spool tells since the last look: a restart has to start again."""
        before = started
        while events := self._reader.after(self._seen, 100):
            self._seen = events[-1].seq
            for event in events:
                if event.kind in (EventKind.STARTED, EventKind.RESTARTED):
                    started = event.kind is EventKind.STARTED
        if started and not before:
            self._reporter.rest()
        elif before and not started:
            self._reporter.wake()
        return started

    def _say_waiting(self, waited: float) -> None:
        from trainer.launch.capacity import shortage

        try:
            reason = shortage(self._job.spec.resources, self._job.max_nodes, waited, self._job.nodes_seconds)
        except Exception as error:  # Ray's answer was late or malformed: only this word is lost, never the job
            log.say(f"can't say what the job waits for: {type(error).__name__}: {error}")
            return
        if reason != self._waiting:
            self._waiting = reason
            self._reporter.say(EventKind.WAITING, reason=reason or "")
            log.say(f"waiting: {reason}" if reason else "waiting no more: its place is there")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop_signal = f"the driver got {signal.Signals(number).name}"


def main(arguments: list[str]) -> int:
    """Run the job whose file is named, on the cluster in RAY_ADDRESS."""
    if len(arguments) != 1:
        print("usage: python -m trainer.launch.driver JOB_DIR/job.json", file=sys.stderr)  # noqa: T201
        return 2
    try:
        job = read_run_file(JobFile, Path(arguments[0]))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    log.keep(job)
    trace.enter(job.traceparent)
    go_direct(*job.own_urls)
    try:
        bring(job)
    except (MirrorError, OSError) as error:
        log.say(f"its folder can't be brought back, and nothing is trained anew in its place: {error}", sys.stderr)
        return 1
    with spans.attempt(job, "agon-driver") as span:
        with Reporter(job) as reporter:
            _connect()
            launch = Launch(job, reporter)
            code = launch.run()
        span.set({"process.exit.code": code}, error=launch.failed)
    spans.flush()
    if launch.inside_ray:
        _leave(code)
    return code


def _leave(code: int) -> NoReturn:
    """Exit at once: Ray is shut down when the interpreter ends, and ends the process with code 1 if a thread calls it
    after that. Ray's head clears up after a driver that is gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _connect() -> None:
    import ray

    ray.init(address="auto", runtime_env={"env_vars": warm.environment()}, logging_level="WARNING")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
