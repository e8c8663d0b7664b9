"""The record of all trials: `trials/<id>/trial.json`, and one event for each change. From it a search goes on after anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial as TuneTrial

from trainer.launch.tune.progress import Progress, replace_text
from trainer.search import SearchSpec, TrialRecord, TrialState
from trainer.search.space import Values
from trainer.search.trial import TRIAL_FILE, read_trials, trial_dir, trial_id

STATUS = {
    TuneTrial.PENDING: TrialState.PENDING,
    TuneTrial.RUNNING: TrialState.RUNNING,
    TuneTrial.PAUSED: TrialState.PAUSED,
}
"""Tune's words for trials that have not ended."""
Say = Callable[[TrialRecord], None]


class Book:
    """All trials of a search. Written by the driver alone; every change goes to disk before anyone is told."""

    def __init__(self, search: SearchSpec, folder: Path, say: Say) -> None:
        self.search, self._folder, self._say = search, folder, say
        self._records = {record.id: record for record in read_trials(folder)}

    @property
    def records(self) -> list[TrialRecord]:
        """All trials, by number."""
        return sorted(self._records.values(), key=lambda record: record.number)

    @property
    def images(self) -> int:
        """Real images over all trials."""
        return sum(record.images for record in self._records.values())

    def get(self, trial: str) -> TrialRecord:
        """One trial."""
        return self._records[trial]

    def add(self, number: int, values: Values) -> None:
        """A trial was drawn."""
        self._put(TrialRecord(id=trial_id(number), number=number, values=values))

    def change(self, trial: str, **changes: Any) -> None:
        """Something about a trial is new."""
        record = self._records[trial]
        changed = record.replace(**changes)
        if changed != record:
            self._put(changed)

    def progressed(self, trial: str, progress: Progress, **changes: Any) -> None:
        """As the trial itself tells."""
        self.change(
            trial,
            results=progress.results,
            clones=progress.clones,
            images=progress.images,
            seconds=progress.seconds,
            **changes,
        )

    def catch_up(self) -> None:
        """After a driver that was killed: what trials wrote down and nobody took. Each evaluation is told, as an event holds one."""
        for record in self.records:
            if record.state.ended:
                continue
            progress = Progress.read(trial_dir(self._folder, record.id))
            known = {result.step for result in record.results}
            for count, result in enumerate(progress.results, start=1):
                if result.step not in known:
                    self.progressed(record.id, progress.replace(results=progress.results[:count]))
            self.progressed(record.id, progress, state=TrialState.PENDING)

    def best(self) -> TrialRecord | None:
        """The trial with the best score; of equal ones the earliest. None before the first score."""
        scored = [
            record for record in self.records if record.score is not None and record.state is not TrialState.FAILED
        ]
        sign = 1.0 if self.search.minimises else -1.0
        return min(scored, key=lambda record: sign * (record.score or 0.0), default=None)

    def _put(self, record: TrialRecord) -> None:
        folder = trial_dir(self._folder, record.id)
        folder.mkdir(parents=True, exist_ok=True)
        replace_text(folder / TRIAL_FILE, record.model_dump_json(indent=1))
        self._records[record.id] = record
        self._say(record)


class Watcher(Callback):  # type: ignore[misc]
    """Tune's callbacks as changes of the book."""

    def __init__(self, book: Book, stopped: Callable[[str], str], asked: Collection[str]) -> None:
        """stopped: why a trial that is ending before its length does so. asked: trials that someone wants to end."""
        self._book, self._stopped, self._asked = book, stopped, asked
        self.closed = False
        """Whether the search is being interrupted: what trials say now is said again when it goes on."""

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """It has its resources."""
        if not self._book.get(trial.trial_id).state.ended:
            self._book.change(trial.trial_id, state=TrialState.RUNNING)

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """An evaluation, or the end."""
        if self.closed:
            return
        state = TrialState(result["state"])
        ended = self._book.get(trial.trial_id).state.ended  # asked to while it waited; it says so late
        changes: dict[str, Any] = {} if ended else {"reason": result["reason"]}
        if state.ended and not ended:
            changes["state"] = state
        if state is TrialState.STOPPED and not ended:
            changes["reason"] = self._stopped(trial.trial_id)
        self._book.progressed(trial.trial_id, Progress.model_validate(result["progress"]), **changes)

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """It has ended; if it didn't say so itself, the scheduler or the search's limits ended it."""
        if not self.closed and not self._book.get(trial.trial_id).state.ended:
            self._book.change(trial.trial_id, state=TrialState.STOPPED, reason=self._stopped(trial.trial_id))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """It failed more often than it may."""
        if not self.closed and not self._book.get(trial.trial_id).state.ended:
            self._book.change(trial.trial_id, state=TrialState.FAILED, reason=_reason(trial))

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Who waits and who is paused; of these, who was asked to end has ended for all but Tune, which notices at its turn."""
        for trial in trials:
            state = STATUS.get(trial.status)
            if state is None or self.closed or self._book.get(trial.trial_id).state.ended:
                continue
            if state is not TrialState.RUNNING and trial.trial_id in self._asked:
                self._book.change(trial.trial_id, state=TrialState.STOPPED, reason=self._stopped(trial.trial_id))
            else:
                self._book.change(trial.trial_id, state=state)


class Clock:
    """Wall time of a search over all its drivers, without the pauses: `seconds` in the folder."""

    def __init__(self, folder: Path) -> None:
        self._path, self._began = folder / "seconds", time.monotonic()
        self._before = float(self._path.read_text()) if self._path.exists() else 0.0

    @property
    def seconds(self) -> float:
        """So far."""
        return self._before + time.monotonic() - self._began

    def write(self) -> None:
        """Keep it."""
        replace_text(self._path, f"{self.seconds:.1f}")


def _reason(trial: TuneTrial) -> str:
    try:
        text = Path(str(trial.error_file)).read_text()
    except OSError:
        text = ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:2000] if lines else "it failed without a word"
