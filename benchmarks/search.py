"""What a search finds for its images, and what a trial costs beside its training.

    python -m benchmarks.search [--mnist ZIP_OR_FOLDER] [--quick]

In one run, on a local Ray cluster of this machine's cores, one training thread a trial: 16 trials of a narrow DCGAN on MNIST by
`asha+optuna`, then `random` with as many images in all, for two seeds of the sampling; a population of four by `pbt`, then four fixed
learning rates with as many images. Without MNIST (--quick): the builtin digits.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
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
        self.found: dict[str, tuple[Found, float]] = {}

    def run(self, name: str, **fields: Any) -> Found:
        """Search, and keep what was found and how long it took."""
        raw = {
            "name": name.replace(" ", "-").replace("+", "-"), "base": base(self._options.quick, self._url, self._options.seed),
            "max_concurrent": cores(), **fields,
        }  # fmt: skip
        began = time.monotonic()
        found = search(raw, self._folder / raw["name"], cache_dir=self._folder / "cache")
        self.found[name] = found, time.monotonic() - began
        return found

    def trained(self, name: str) -> float:
        """Seconds that the trials' trainings ran, evaluations included: each from its first event to its last."""
        place = self._folder / name.replace(" ", "-").replace("+", "-")
        return sum(_ran(trial_dir(place, trial.id) / "events.jsonl") for trial in self.found[name][0].trials)


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
    runs.run(WARM_UP, algorithm="random", space=RATE, samples=1)  # packs digits, trains the extractor, fills caches
    ratios = []
    for seed in (report.seed,) if quick else (report.seed, report.seed + 1):
        asha = runs.run(f"asha+optuna {seed}", algorithm="asha+optuna", space=SPACE, samples=trials, seed=seed)
        spent = {"images": sum(trial.images for trial in asha.trials)}
        chance = runs.run(f"random {seed}", algorithm="random", space=SPACE, samples=trials, seed=seed, budget=spent)
        ratios.append(score(asha) / score(chance))
    population = runs.run("pbt", algorithm="pbt", space=RATE, samples=members)
    grid = {"optimizers.G.lr": {"choice": list(FIXED[:members]), "also": ["optimizers.D.lr"]}}
    fixed = runs.run("fixed rates", algorithm="grid", space=grid, samples=members)
    for name, (found, seconds) in runs.found.items():
        states = [trial.state for trial in found.trials]
        trained = runs.trained(name)
        report.row(
            search=name, trials=len(states), completed=states.count(TrialState.COMPLETED),
            diverged=states.count(TrialState.DIVERGED), images=sum(trial.images for trial in found.trials),
            best=score(found), spread=found.best.spread if found.best else None, seconds=seconds,
            overhead=seconds * min(cores(), len(states)) / trained - 1, values=json.dumps(found.best.values if found.best else {}),
        )  # fmt: skip
    report.note("best: Fréchet distance, mean of the last two evaluations of the best trial; lower is better")
    report.note("asha+optuna and random of one seed draw the same first samples")
    report.note(
        "overhead: time of the slots in which trials ran beyond the time between each training's first and last event; it "
        "holds the search's own start and end, and slots that idle while the last trials end"
    )
    report.at_most(
        "asha+optuna's best ÷ random's, at equal images (mean of the seeds)", 1.0, measured=sum(ratios) / len(ratios)
    )
    report.at_most(
        "pbt's best ÷ the best fixed rate's, at equal images", 1.0, measured=score(population) / score(fixed)
    )
    warm_ones = [name for name in runs.found if name != WARM_UP]
    held = sum(runs.found[name][1] * min(cores(), len(runs.found[name][0].trials)) for name in warm_ones)
    trained = sum(runs.trained(name) for name in warm_ones)
    report.at_most("time of a trial beyond its training", 0.1, measured=held / trained - 1, unit="of its time")


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
    for name, (found, _) in runs.found.items():
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


def _ran(path: Path) -> float:
    """Seconds between the first and the last event of each life of a trial, together."""
    total, last = 0.0, None
    for line in path.read_text().splitlines() if path.exists() else ():
        event = json.loads(line)
        now = datetime.fromisoformat(event["time"]).timestamp()
        if last is not None and event["kind"] != EventKind.STARTED:
            total += now - last
        last = now
    return total


if __name__ == "__main__":
    raise SystemExit(main())
