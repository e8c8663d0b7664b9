"""A search, from its file to its best trial. Needs a connection to a Ray cluster."""

from __future__ import annotations

import hashlib
import logging
import os
import random
import shutil
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.launch import warm
from trainer.launch.tune.found import Found
from trainer.launch.tune.progress import Progress, replace_text
from trainer.launch.tune.wishes import Wishes
from trainer.search import SearchSpec, TrialRecord, TrialState, parse_search
from trainer.search.space import Values
from trainer.search.trial import trial_dir
from trainer.spec import FieldError, SpecError
from trainer.wire import SEARCH_FILE, SearchFile

if TYPE_CHECKING:
    from trainer.launch.tune.book import Book, Clock, Watcher
    from trainer.launch.tune.limits import Limits
    from trainer.launch.tune.plateau import Plateau

# Read by Tune in this process and its actors; the environment wins.
SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths in a spec mean the same on every launcher
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # trials write their own events
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # the book is what a search goes on from
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # how many at once is for the search to say
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    "TUNE_WARN_THRESHOLD_S": "5",
    "RAY_AIR_NEW_OUTPUT": "0",
}
LOOK_SECONDS = 1.0
PAUSE = signal.SIGUSR1
"""What ends Tune's loop as Ctrl-C does."""


def search(
    spec: SearchSpec | dict[str, Any],
    folder: Path | str,
    *,
    cache_dir: Path | str | None = None,
    data_roots: Sequence[str] = (),
    mlflow_uri: str | None = None,
) -> Found:
    """Search, and return all trials. On the cluster that Ray is connected to (`ray.init` before, else a local one).

    `folder` holds everything. A search whose folder has trials already goes on: killed, paused, or with more `trials`.
    Raises SpecError for a raw spec that isn't valid or whose trials are larger than the cluster, ValueError if the folder
    is of another search.
    """
    import ray

    from trainer.launch.local import default_cache

    parsed = spec if isinstance(spec, SearchSpec) else parse_search(spec)
    place = Path(folder).absolute()
    place.mkdir(parents=True, exist_ok=True)
    path, attempt = place / SEARCH_FILE, 1
    if path.exists():
        before = SearchFile.model_validate_json(path.read_bytes())
        if differing := differs(before.spec, parsed):
            raise ValueError(f"{place} holds another search ({', '.join(differing)} differ); give another folder")
        attempt = before.attempt + 1
    file = SearchFile(
        job_id=f"local-{parsed.name}-{hashlib.sha256(str(place).encode()).hexdigest()[:8]}",  # MLflow's runs are found by it
        attempt=attempt,
        spec=parsed,
        job_dir=str(place),
        cache_dir=str(cache_dir or default_cache()),
        data_roots=tuple(map(str, data_roots)),
        mlflow_uri=mlflow_uri,
    )
    if not ray.is_initialized():
        ray.init(runtime_env={"env_vars": warm.environment()}, logging_level="WARNING")
    refuse_too_large(parsed, [node["Resources"] for node in ray.nodes() if node["Alive"]])
    replace_text(path, file.model_dump_json(indent=1))
    return run(file, path, Wishes())


def refuse_too_large(spec: SearchSpec, nodes: Sequence[Mapping[str, float]]) -> None:
    """Raises SpecError if these nodes, whose resources are given by Ray's names, can't hold one trial even when idle."""
    resources = spec.base.resources
    needs = {"CPU": resources.cpus_per_worker, "GPU": resources.gpus_per_worker}
    one = {name: amount for name, amount in needs.items() if amount}
    room = sum(int(min(node.get(name, 0.0) / amount + 1e-9 for name, amount in one.items())) for node in nodes)
    if room < resources.workers:
        each = " and ".join(f"{amount:g} {name}{'s' * (amount != 1)}" for name, amount in one.items())
        fix = "lower workers, cpus_per_worker or gpus_per_worker, or connect to a larger cluster"
        message = f"one trial needs {resources.workers} workers with {each} each, and this cluster has room for {room}"
        raise SpecError([FieldError(path="base.resources.workers", message=message, fix=fix)])


def differs(before: SearchSpec, now: SearchSpec) -> list[str]:
    """Fields whose change makes it another search: all but its size, its limits and what people note about it."""
    free = {"trials", "max_concurrent", "budget", "limits", "name", "labels", "notes"}
    return [
        name for name in SearchSpec.model_fields if name not in free and getattr(before, name) != getattr(now, name)
    ]


def run(
    file: SearchFile,
    path: Path,
    wishes: Wishes,
    say: Callable[[TrialRecord], None] = lambda record: None,
    warn: Callable[[str], None] = lambda message: None,
) -> Found:
    """Run until all trials have ended, the budget is spent, or a pause is wished for. `path`: where `file` lies."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    from ray import tune

    from trainer.launch.tune.book import Book, Clock, Watcher
    from trainer.launch.tune.deliver import Deliveries
    from trainer.launch.tune.limits import Limits
    from trainer.launch.tune.plateau import Plateau
    from trainer.launch.tune.schedulers import scheduler_of
    from trainer.launch.tune.source import Draws
    from trainer.launch.tune.trial import Trial

    spec, folder = file.spec, Path(file.job_dir)
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)  # misses files that nobody needs
    random.seed(spec.seed + file.attempt)  # Tune's population-based training draws from the global generators
    np.random.seed(spec.seed + file.attempt)
    deliveries = Deliveries(folder)

    def told(record: TrialRecord) -> None:
        say(record)
        if record.state.ended:
            deliveries.ended(record)

    book = Book(spec, folder, told)
    book.catch_up()
    clock = Clock(folder)
    limits = Limits(book, clock, wishes)
    watcher = Watcher(book, limits.why, wishes.stop_trials)
    draws = Draws(spec, book.records, lambda values: _config(spec, path, values), book.add, lambda: wishes.hold)
    # Trials that ended are not run again, even where nothing is left to do.
    open_ones = any(not record.state.ended for record in book.records)
    if not limits.stop_all() and (open_ones or not draws.is_finished()):
        plateau = Plateau(book, folder)
        with _Looking(wishes, watcher, limits, plateau, book, clock, file, warn):
            tune.run(
                Trial,
                name=f"attempt-{file.attempt}",
                storage_path=str(folder / "tune"),
                search_alg=draws,
                scheduler=scheduler_of(spec, book.records),
                num_samples=spec.trials,
                stop=limits,
                callbacks=[watcher],
                max_failures=spec.base.retry.worker_failures,
                reuse_actors=spec.base.resources.workers == 1,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False, num_to_keep=4),
                raise_on_failed_trial=False,
                verbose=0,
            )
        shutil.rmtree(folder / "tune", ignore_errors=True)  # a search goes on from the book
    clock.write()
    _settle(book, folder, None if wishes.pause.is_set() else limits.spent)
    deliveries.close()
    left = [record for record in book.records if not record.state.ended]
    return Found(tuple(book.records), book.best(), not left and not wishes.pause.is_set(), draws.problem)


def _settle(book: Book, folder: Path, spent: str | None) -> None:
    """What Tune left open: over where the budget is spent (Tune tells nobody of those), else to go on with."""
    state = TrialState.STOPPED if spent else TrialState.PAUSED
    for record in book.records:
        if not record.state.ended:
            book.progressed(record.id, Progress.read(trial_dir(folder, record.id)), state=state, reason=spent or "")


def _config(spec: SearchSpec, path: Path, values: Values) -> dict[str, Any]:
    resources = spec.base.resources
    bundle = {"CPU": resources.cpus_per_worker}
    if resources.gpus_per_worker:
        bundle["GPU"] = float(resources.gpus_per_worker)
    return {"search_file": str(path), "values": values, "resources": [bundle] * resources.workers}


class _Looking:
    """Looks, beside Tune's loop, for what shall end: single trials, all that the budget ends, the loop itself at a pause."""

    def __init__(
        self,
        wishes: Wishes,
        watcher: Watcher,
        limits: Limits,
        plateau: Plateau,
        book: Book,
        clock: Clock,
        file: SearchFile,
        warn: Callable[[str], None],
    ) -> None:
        self._wishes, self._watcher, self._limits, self._book = wishes, watcher, limits, book
        self._plateau, self._warn = plateau, warn
        self._clock, self._file = clock, file
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="wishes", daemon=True)

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(PAUSE, lambda number, frame: None)  # until Tune has its own: the default ends the process
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            with suppress(OSError):  # a full disk: again at the next look
                self._once()

    def _once(self) -> None:
        if not self._wishes.pause.is_set() and self._limits.spent is None:
            self._ask_plateau()
        ending = {record.id for record in self._book.records if not record.state.ended}
        if self._wishes.pause.is_set():
            self._watcher.closed = True
            os.kill(os.getpid(), PAUSE)
        elif self._limits.spent is None:  # one that waits for its turn has ended for the book, but Tune will start it
            ending = {record.id for record in self._book.records} & self._wishes.stop_trials
        for trial in ending:
            self._stop(trial)
        self._clock.write()

    def _ask_plateau(self) -> None:
        over, warning = self._plateau.look()
        if warning is not None:
            self._warn(warning)
        if over is not None:
            self._wishes.limit = over
            self._wishes.pause.set()

    def _stop(self, trial: str) -> None:
        """Ask a trial's workers to save and end."""
        path = trial_dir(Path(self._file.job_dir), trial) / f"stop-{self._file.attempt}"
        if not path.exists():
            path.write_text("the search asked it to")
