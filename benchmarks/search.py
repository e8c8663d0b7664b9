"""What a search finds for its images, and what a trial costs beside its training.

    python -m benchmarks.search [--mnist ZIP_OR_FOLDER] [--quick]

In one run, on a local Ray cluster of this machine's cores, one training thread a trial: 16 trials of a narrow DCGAN on MNIST by
`asha+optuna`, then `random` with as many images in all, for two seeds of the draws; a population of four by `pbt`, then its first
four learning rates kept fixed, and a grid of four, with as many images. Without MNIST (--quick): the builtin digits.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import psutil
import ray

from benchmarks.common import Report, arguments
from benchmarks.reproduce.images import MNIST, Splits
from trainer.families.table import recipes
from trainer.launch import warm
from trainer.launch.tune import Found, search
from trainer.search import TrialState
from trainer.search.trial import trial_dir
from trainer.wire import EventKind

mpl.use("Agg")
PICTURE = Path(__file__).parent.parent / "docs" / "images" / "search.png"
IMAGES, TRIALS, MEMBERS = 25_600, 16, 4
SPACE = {
    "optimizers.G.lr": {"loguniform": [1e-5, 1e-1]},
    "optimizers.D.lr": {"loguniform": [1e-5, 1e-1]},
    "optimizers.G.beta1": {"choice": [0.0, 0.5, 0.9], "also": ["optimizers.D.beta1"]},
}
RATE = {"optimizers.G.lr": {"loguniform": [1e-4, 1e-2], "also": ["optimizers.D.lr"]}}
WARM_UP = "warm-up"
FIXED = (1e-4, 5e-4, 2e-3, 1e-2)


def base(quick: bool, url: str | None, seed: int) -> dict[str, Any]:
    """A DCGAN that trains in a minute, evaluated eight times."""
    changes: dict[str, Any] = {
        "arch.g_width": 16, "arch.d_width": 16, "train.images": IMAGES, "train.seed": seed, "evaluation.samples": 2000,
        "evaluation.metrics": ["fid"], "resources.workers": 1, "samples.every_steps": 100_000, "train.channels_last": True,
    }  # fmt: skip
    if quick or url is None:
        return {
            "recipe": "gan-digits",
            "set": {"train.images": 3200, "evaluation.samples": 200, "resources.workers": 1},
        }
    return {"recipe": "dcgan", "set": {**changes, "data.url": url}}


class Runs:
    """Searches of one run: a folder each, one cache."""

    def __init__(self, folder: Path, options: argparse.Namespace, url: str | None) -> None:
        self._folder, self._options, self._url = folder, options, url
        self.found: dict[str, tuple[Found, float, float]] = {}
        """By name: what was found, how many seconds it took, when it ended."""

    def run(self, name: str, **fields: Any) -> Found:
        """Search, and keep what was found and how long it took."""
        raw = {
            "name": name.replace(" ", "-").replace("+", "-"), "base": base(self._options.quick, self._url, self._options.seed),
            "max_concurrent": cores(), **fields,
        }  # fmt: skip
        began = time.monotonic()
        found = search(raw, self._folder / raw["name"], cache_dir=self._folder / "cache")
        self.found[name] = found, time.monotonic() - began, time.time()
        return found

    def slots(self, name: str) -> Slots:
        """Where the time of the search's slots went."""
        found, seconds, ended = self.found[name]
        place = self._folder / name.replace(" ", "-").replace("+", "-")
        lives = [life for trial in found.trials for life in _lives(trial_dir(place, trial.id) / "events.jsonl")]
        return slots(lives, ended - seconds, ended, min(cores(), len(found.trials)))


@dataclass(frozen=True)
class Slots:
    """Seconds of slots. A slot is room for one trial; a search has as many as trials that train at once."""

    trained: float
    """Between the first and the last event of each life of a trial: its training and its evaluations."""
    between: float
    """Free while a trial was still to start or to go on: what a trial costs beyond its training."""
    begin: float
    """Before the first training of the search: Ray's workers start, libraries are imported."""
    end: float
    """From where no trial was left to start: the last ones train, then the search ends."""


def slots(lives: list[tuple[float, float]], began: float, ended: float, count: int) -> Slots:
    """Tell where the time of `count` slots went. lives: when each training began and ended, in the seconds of `began`."""
    trained = sum(end - begin for begin, end in lives)
    first, last = min(begin for begin, _ in lives), max(begin for begin, _ in lives)
    # The slots' first trainings begin one after another as their workers come up: that is the search's start, too.
    starts = sorted(begin for begin, _ in lives)[:count]
    begin = sum(start - began for start in starts)
    busy = sum(min(end, last) - min(begin, last) for begin, end in lives)
    between = (last - first) * count - sum(start - first for start in starts) - busy
    return Slots(trained, between, begin, count * (ended - began) - trained - between - begin)


def main() -> int:
    parser = arguments("search", __doc__ or "")
    parser.add_argument("--mnist", help="zip or folder with train/<class>/<number>.png ($MNIST, data/mnist-png.zip)")
    options = parser.parse_args()
    report = Report("search", options)
    ray.init(
        num_cpus=cores(), include_dashboard=False, log_to_driver=False, logging_level="ERROR",
        runtime_env={"env_vars": {**warm.environment(), "OMP_NUM_THREADS": "1"}},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        url = None
        if not options.quick:
            url = Splits(MNIST, MNIST.find(options.mnist), folder / "data").url("train", recipes()["dcgan"]().arch)
        runs = Runs(folder, options, url)
        measure(report, runs, options.quick)
        if not options.quick:
            draw(runs)
            report.note(f"picture: docs/images/{PICTURE.name}")
    ray.shutdown()
    return report.finish()


def measure(report: Report, runs: Runs, quick: bool) -> None:
    """The three pairs."""
    trials, members = (4, 2) if quick else (TRIALS, MEMBERS)
    runs.run(WARM_UP, algorithm="random", space=RATE, trials=1)  # packs digits, trains the extractor, fills caches
    ratios = []
    for seed in (report.seed,) if quick else (report.seed, report.seed + 1):
        asha = runs.run(f"asha+optuna {seed}", algorithm="asha+optuna", space=SPACE, trials=trials, seed=seed)
        spent = {"images": sum(trial.images for trial in asha.trials)}
        chance = runs.run(f"random {seed}", algorithm="random", space=SPACE, trials=trials, seed=seed, budget=spent)
        ratios.append(score(asha) / score(chance))
    population = runs.run("pbt", algorithm="pbt", space=RATE, trials=members)
    kept = runs.run("pbt kept", algorithm="random", space=RATE, trials=members)
    grid = {"optimizers.G.lr": {"choice": list(FIXED[:members]), "also": ["optimizers.D.lr"]}}
    fixed = runs.run("fixed rates", algorithm="grid", space=grid, trials=members)
    rows(report, runs)
    report.at_most(
        "asha+optuna's best ÷ random's, at equal images (mean of the seeds)", 1.0, measured=sum(ratios) / len(ratios)
    )
    report.at_most(
        "pbt's best ÷ the best fixed rate's, at equal images", 1.0, measured=score(population) / score(fixed)
    )
    report.at_most("pbt's best ÷ the best of its own first rates", 1.0, measured=score(population) / score(kept))
    warm_ones = [runs.slots(name) for name in runs.found if name != WARM_UP]
    share = sum(each.between for each in warm_ones) / sum(each.trained for each in warm_ones)
    report.at_most("time of a trial beyond its training", 0.1, measured=share, unit="of its time")


def rows(report: Report, runs: Runs) -> None:
    """A row for each search."""
    for name, (found, seconds, _) in runs.found.items():
        states = [trial.state for trial in found.trials]
        spent = runs.slots(name)
        report.row(
            search=name, trials=len(states), completed=states.count(TrialState.COMPLETED),
            diverged=states.count(TrialState.DIVERGED), images=sum(trial.images for trial in found.trials),
            best=score(found), spread=found.best.spread if found.best else None, seconds=seconds,
            trained=spent.trained, between=spent.between, begin=spent.begin, end=spent.end,
            values=json.dumps(found.best.values if found.best else {}),
        )  # fmt: skip
    report.note("best: Fréchet distance, mean of the last two evaluations of the best trial; lower is better")
    report.note(
        "asha+optuna and random of one seed draw the same first values; so do pbt and pbt kept, whose members keep their first rates"
    )
    report.note(
        "trained, between, begin, end: seconds of the slots in which trials run. trained: trainings and evaluations; between: "
        "free while a trial was still to start or to go on; begin: before a slot's first training; end: free from the last "
        "start on, as slots idle while the last trials train"
    )


def score(found: Found) -> float:
    """The best trial's; infinity where no trial has one."""
    return found.best.score if found.best and found.best.score is not None else float("inf")


def cores() -> int:
    """Trials at once."""
    return psutil.cpu_count() or 1


def draw(runs: Runs) -> None:
    """Best score so far against images, a line for each search."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, (found, _, _) in runs.found.items():
        if name == WARM_UP:
            continue
        spent, best, line = 0, float("inf"), []
        for trial in found.trials:
            for before, after in pairwise((0, *(result.images for result in trial.results))):
                spent += after - before
                best = min(best, next(result.score for result in trial.results if result.images == after))
                line.append((spent, best))
        wide = 3.5 if name.startswith("asha") else 1.5  # random's line begins on it
        axes.step(*zip(*line, strict=True), where="post", label=name, linewidth=wide, alpha=0.8)
    axes.set(xlabel="images, trial after trial", ylabel="best Fréchet distance so far", yscale="log")
    axes.legend()
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=110)


def _lives(path: Path) -> list[tuple[float, float]]:
    """When each life of a trial began and ended: its first event and its last, in seconds since the epoch."""
    lives: list[tuple[float, float]] = []
    for line in path.read_text().splitlines() if path.exists() else ():
        event = json.loads(line)
        now = datetime.fromisoformat(event["time"]).timestamp()
        if event["kind"] == EventKind.STARTED or not lives:
            lives.append((now, now))
        lives[-1] = lives[-1][0], now
    return lives


if __name__ == "__main__":
    raise SystemExit(main())
