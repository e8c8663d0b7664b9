"""Entry point of a search's Ray job: `python -m trainer.launch.tune SEARCH_DIR/search.json`.

Runs the search, tells the control plane of every trial, registers the best one, and says how it ended. Exit code 0 if the
search completed or was stopped (which a pause is, too), 1 if it failed, 2 if its file can't be read.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from trainer import spans, trace, tracking
from trainer.errors import WorkerFailedError, classify
from trainer.launch import log, warm
from trainer.launch.brought import bring
from trainer.launch.tune import track
from trainer.launch.tune.found import Found
from trainer.launch.tune.run import run
from trainer.launch.tune.wishes import Wishes
from trainer.mirror.place import MirrorError
from trainer.proxies import go_direct
from trainer.search import TrialRecord, TrialState
from trainer.search.trial import read_trials
from trainer.sinks.report import Reporter
from trainer.wire import EventKind, FailureKind, SearchFile, read_run_file

LOOK_SECONDS = 0.5
TELL_SECONDS = 2.0
REPORT_SECONDS = 30.0
"""Time between two reports while the search runs, at least."""
REPORT_SHARE = 0.05
"""Of the time, at most, that goes into reports."""


class Drive:
    """One attempt at a search. The main thread is Tune's; another one hears what is wanted and tells how far it is."""

    def __init__(self, file: SearchFile, path: Path, reporter: Reporter) -> None:
        self._file, self._path, self._reporter = file, path, reporter
        self._wishes = Wishes()
        self._trials = {record.id: record for record in read_trials(Path(file.job_dir))}
        self._changed = True
        self._drawing = threading.Lock()
        self._over = threading.Event()
        self._began = time.monotonic()
        self._images_before: int | None = None

    def run(self) -> int:
        """Search, publish, report; the exit code."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        self._reporter.say(
            EventKind.STARTED,
            total_images=self._file.spec.budget.images,
            resumed_from=None,
            workers=self._file.spec.trials if self._file.spec.algorithm == "pbt" else self._file.spec.max_concurrent,
            device="search",
        )
        listener = threading.Thread(target=self._listen, name="control-plane", daemon=True)
        listener.start()
        try:
            if self._file.spec.base.publish is not None and (deleted := tracking.deleted_experiment(self._file)):
                return self._fail(deleted.kind, f"no trial was trained: {deleted}")
            parent = track.begin(self._file, self._warn)
            if parent:
                self._reporter.say(EventKind.TRACKED, mlflow_run_id=parent)
            found = run(self._file, self._path, self._wishes, self._say, self._warn)
            return self._end(found, parent)
        finally:
            self._over.set()
            listener.join()

    def _end(self, found: Found, parent: str | None) -> int:
        from trainer.launch.tune.best import NoStateError, publish

        self._tell()
        self._report(found.trials)
        track.end(self._file, parent, found, self._warn)
        if not found.finished:
            if self._wishes.limit is not None:
                self._reporter.say(EventKind.LIMIT, limit="no_better_after", reason=self._wishes.limit)
            self._reporter.finished("stopped")
            return 0
        if found.problem:
            self._warn(found.problem)
        if found.best is None:
            reasons = {trial.reason for trial in found.trials if trial.reason}
            return self._fail(
                FailureKind.COLLAPSED, f"no trial has a score: {'; '.join(sorted(reasons)[:3]) or 'none ran'}"
            )
        if self._file.spec.base.publish is not None:
            try:
                told = publish(self._file, found.best, parent)
            except (WorkerFailedError, NoStateError) as error:
                kind = error.kind if isinstance(error, WorkerFailedError) else FailureKind.PUBLISH_FAILED
                return self._fail(kind, f"the best trial, {found.best.id}, was not registered: {error}")
            if isinstance(told, Path):
                self._warn(
                    f"this search has no MLflow, so {found.best.id} is not registered: its package stays in {told}"
                )
            else:
                self._reporter.say(EventKind.PUBLISHED, told)
        self._reporter.finished("completed")
        return 0

    def _fail(self, kind: FailureKind, reason: str) -> int:
        log.say(f"failed ({kind}): {reason}", sys.stderr)
        self._reporter.failed(kind, reason)
        return 1

    # -- what happens

    def _say(self, record: TrialRecord) -> None:
        before = self._trials.get(record.id)
        self._trials[record.id], self._changed = record, True
        newest = record.results[-1] if record.results else None
        fields = record.model_dump(mode="json", exclude={"results"})
        fields["result"] = newest.model_dump(mode="json") if newest else None
        self._reporter.say(EventKind.TRIAL, fields, images=record.images)
        if before is None or before.state is not record.state:
            score = "" if record.score is None else f", score {record.score:.5g}"
            log.say(f"{record.id} {record.state}{score}{f': {record.reason}' if record.reason else ''}")

    def _warn(self, message: str) -> None:
        log.say(f"warning: {message}")
        self._reporter.say(EventKind.WARNING, message=message)

    def _report(self, trials: Sequence[TrialRecord]) -> float:
        """The page of all trials; how long it took. The search is not lost with it."""
        from trainer.report.search import write_search_report

        began, known = time.monotonic(), self._file.job_id if self._file.api_url else None
        with self._drawing:
            try:
                folder = Path(self._file.job_dir)
                path = write_search_report(self._file.spec, trials, folder, search_id=known, source=folder)
            except Exception as error:
                self._warn(f"no report: {type(error).__name__}: {error}")
            else:
                self._reporter.say(EventKind.REPORT, path=path.name, seconds=round(time.monotonic() - began, 1))
        return time.monotonic() - began

    def _hold(self, hold: bool) -> None:
        self._wishes.hold = hold
        said = (
            "other runs wait for the cluster: no further trial starts until they have it"
            if hold
            else "trials start again"
        )
        log.say(said)

    def _listen(self) -> None:
        told, drawn, pause = 0.0, time.monotonic(), REPORT_SECONDS
        self._reporter.wake()
        while not self._over.wait(LOOK_SECONDS):
            if self._reporter.desired == "stop":
                self._wishes.pause.set()
            self._wishes.stop_trials.update(self._reporter.stop_trials)
            if self._reporter.hold != self._wishes.hold:
                self._hold(self._reporter.hold)
            now = time.monotonic()
            with suppress(OSError):  # a full disk: told at the next look
                if self._changed and now - told >= TELL_SECONDS:
                    self._changed, told = False, now
                    self._tell()
                if now - drawn >= pause:
                    drawn = now
                    pause = max(REPORT_SECONDS, self._report(self._in_order()) / REPORT_SHARE)

    def _in_order(self) -> list[TrialRecord]:
        return sorted(self._trials.values(), key=lambda trial: trial.number)

    def _tell(self) -> None:
        """How far the search is."""
        trials = list(self._trials.values())
        images = sum(trial.images for trial in trials)
        if self._images_before is None:
            self._images_before = images
        speed = (images - self._images_before) / max(1e-9, time.monotonic() - self._began)
        scores = [trial.score for trial in trials if trial.score is not None and trial.state is not TrialState.FAILED]
        best = (min if self._file.spec.minimises else max)(scores, default=None)
        metrics: dict[str, float] = {
            "trials": float(len(trials)),
            "running": float(sum(trial.state is TrialState.RUNNING for trial in trials)),
            "ended": float(sum(trial.state.ended for trial in trials)),
        }
        if best is not None:
            metrics["best"] = best
        self._reporter.say(
            EventKind.PROGRESS, step=self._reporter.last_seq, images=images, metrics=metrics, total_images=self._file.spec.budget.images,
            images_per_second=speed, eta_seconds=None, shares={},
        )  # fmt: skip

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._wishes.pause.set()


def main(arguments: list[str]) -> int:
    """Run the search whose file is named, on the cluster in RAY_ADDRESS."""
    if len(arguments) != 1:
        print("usage: python -m trainer.launch.tune SEARCH_DIR/search.json", file=sys.stderr)  # noqa: T201
        return 2
    path = Path(arguments[0]).absolute()
    try:
        file = read_run_file(SearchFile, path)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    log.keep(file)
    trace.enter(file.traceparent)
    go_direct(*file.own_urls)
    try:
        bring(file)
    except (MirrorError, OSError) as error:
        log.say(f"its folder can't be brought back, and nothing is searched anew in its place: {error}", sys.stderr)
        return 1
    with spans.attempt(file, "agon-search") as span, Reporter(file) as reporter:
        import ray

        ray.init(address="auto", runtime_env={"env_vars": warm.environment()}, logging_level="WARNING")
        try:
            code = Drive(file, path, reporter).run()
            span.set({"process.exit.code": code}, error="failed" if code else None)
            return code
        except Exception as error:
            reporter.failed(*_verdict(error))
            raise


def _verdict(error: Exception) -> tuple[FailureKind, str]:
    """The search goes on from its folder, so what another attempt may survive is told apart from a bug."""
    kind, reason = classify(error)
    return (FailureKind.WORKER_LOST if kind is FailureKind.INTERNAL and isinstance(error, OSError) else kind), reason
