"""How often is a digit of the demo the one that was asked for, and what does its training cost?

    python -m benchmarks.demo [--quick] [--only now before] [--seeds 0 1 2 3 4] [--pictures DIR]

Trains the recipe of `make demo` through the engine, without a stack, once for each seed: `now` as it is, `before` as it was
when the demo's 1s, 4s and 7s looked like mistakes. The demo has two DDP workers; here one process takes each batch in as many
parts, so that batch norm sees as few images at once, and gradients are averaged over them just the same.

Five classifiers vote on what an image shows, each trained on four fifths of scikit-learn's digits; the fifth that one has not
seen says how far to trust it. Agreement alone could be had by one perfect picture for each class. So beside it stand `variety`,
the mean squared distance of two images of a class in the features of these classifiers, where that of real images which they
have not seen is 1, and what the platform itself scores: Fréchet distance, precision, and recall, the share of real digits
that generated ones come near to.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import log_softmax

from benchmarks.common import Report, arguments, commit
from benchmarks.reproduce.protocols.truncation import features, within_classes
from service.demo import RECIPE
from trainer.data.stream import Dataset, open_dataset
from trainer.engine.distributed import Distributed
from trainer.engine.events import Event, Run, RunStarted, Scored, StepDone
from trainer.engine.loop import Loop
from trainer.engine.sampling import sample
from trainer.engine.standing import standing
from trainer.engine.state import TrainState
from trainer.evaluate import Evaluator
from trainer.evaluate.agreement import fit, predictions, size_of
from trainer.evaluate.classifier import FeatureNet, prepare
from trainer.evaluate.nearest import Share
from trainer.families.table import recipes
from trainer.images import grid, save_png
from trainer.spec import JobSpec, with_values

FOLDS, EPOCHS = 5, 30
SAMPLES = 1000
SEED = 1
"""Of the images that are measured: the demo's own picture has it, too."""
SHOWN = 8
"""Images of a class in a picture, as in the demo's."""
METRICS = ("fid", "precision", "recall")
BEFORE: Mapping[str, Any] = {
    "arch.g_width": 32,
    "arch.d_width": 32,
    "arch.latent.dim": 32,
    "optimizers.G.lr": 5e-4,
    "optimizers.D.lr": 5e-4,
    "optimizers.G.schedule.start": 0.5,
    "optimizers.D.schedule.start": 0.5,
    "ema.decay": 0.995,
    "train.batch": 64,
    "train.images": 72_000,
}
"""What the recipe's fields were."""


@dataclass(frozen=True)
class Judge:
    """Classifiers of real digits; net i has not seen the images `held[i]`. accuracy: of each image by the one net that has not
    seen it; by_class: the same for each class."""

    nets: tuple[FeatureNet, ...]
    held: tuple[NDArray[np.uint8], ...]
    held_labels: tuple[NDArray[np.int64], ...]
    accuracy: Share
    by_class: tuple[float, ...]

    @torch.inference_mode()
    def read(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The class that the nets find together in each image: [N]."""
        images = channels_first(images_NHWC)
        x = prepare(images, size_of(images))
        votes = torch.stack([log_softmax(net(x), dim=1) for net in self.nets]).sum(dim=0)
        found: NDArray[np.int64] = votes.argmax(dim=1).numpy()
        return found

    def variety(self, images_NHWC: NDArray[np.uint8], labels_N: NDArray[np.int64]) -> float:
        """Mean squared distance of two images of a class ÷ that of held out real ones, mean over the nets."""
        shares = [
            within_classes(features(net, images_NHWC), labels_N) / within_classes(features(net, held), truth)
            for net, held, truth in zip(self.nets, self.held, self.held_labels, strict=True)
        ]
        return float(mean(shares))


def train_judge(images_NHWC: NDArray[np.uint8], labels_N: NDArray[np.int64], epochs: int = EPOCHS) -> Judge:
    """Every `FOLDS`-th image is held out from net i, beginning at image i: packing has shuffled them."""
    classes, fold = int(labels_N.max()) + 1, np.arange(len(labels_N)) % FOLDS
    found = np.empty_like(labels_N)
    nets = []
    for number in range(FOLDS):
        seen, held = fold != number, fold == number
        net = fit(
            channels_first(images_NHWC[seen]), torch.from_numpy(labels_N[seen]), classes, epochs=epochs, seed=number
        )
        found[held] = predictions(net, channels_first(images_NHWC[held]))
        nets.append(net)
    rows = [fold == number for number in range(FOLDS)]
    return Judge(
        tuple(nets),
        tuple(images_NHWC[row] for row in rows),
        tuple(labels_N[row] for row in rows),
        Share.of(found == labels_N),
        tuple(by_class(found, labels_N, classes)),
    )


def by_class(found: NDArray[np.int64], asked: NDArray[np.int64], classes: int) -> list[float]:
    """For each class the share of its images in which it is found."""
    return [float((found[asked == label] == label).mean()) for label in range(classes)]


def channels_first(images_NHWC: NDArray[np.uint8]) -> Tensor:
    """uint8 NCHW."""
    return torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).contiguous()


class Watch:
    """A listener: CPU seconds from the first step to the last, and the scores at the end."""

    def __init__(self) -> None:
        self.cpu_seconds = 0.0
        self.scores: Mapping[str, float] = {}
        self._begun = 0.0

    def handle(self, event: Event, run: Run) -> None:
        """Keep what is asked for."""
        if isinstance(event, RunStarted):
            self._begun = time.process_time()
        if isinstance(event, StepDone) and event.last:
            self.cpu_seconds = time.process_time() - self._begun
        if isinstance(event, Scored):
            self.scores = event.scores

    def close(self) -> None:
        """Nothing to release."""


def variants() -> dict[str, JobSpec]:
    """The demo's recipe as it was and as it is."""
    now = recipes()[RECIPE]()
    return {"before": with_values(now, BEFORE.items()), "now": now}


def alone(spec: JobSpec, seed: int, quick: bool) -> JobSpec:
    """For one process that sees the batches as the spec's workers do, scored once at the end."""
    part = spec.local_batch(spec.resources.workers)
    changes = {
        "train.seed": seed, "train.micro_batch": part, "resources.workers": 1, "evaluation.metrics": list(METRICS),
        "evaluation.samples": 2000,
    }  # fmt: skip
    if quick:
        changes |= {"arch.resolution": 8, "train.images": 2 * spec.train.batch, "evaluation.samples": 100}
    return with_values(spec, changes.items())


def measure(spec: JobSpec, dataset: Dataset, judge: Judge, cache: Path) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """Train, and read what was drawn: a row's values, and the first `SHOWN` images of every class, row by row."""
    distributed = Distributed.create(spec, world=1)
    torch.set_num_threads(1)  # a worker's share of the demo's machine
    state, watch = TrainState.create(spec, distributed), Watch()
    Loop(spec, state, distributed, dataset, [watch, Evaluator(spec, dataset, cache)]).run()
    net, classes = standing(state.family, spec, state.net("G")), spec.arch.classes
    asked = np.arange(SAMPLES, dtype=np.int64) % classes
    images = sample(state.family, spec.arch, net, n=SAMPLES, seed=SEED, labels=asked)
    found = judge.read(images)
    shares = by_class(found, asked, classes)
    row = {
        "agreement": 100 * Share.of(found == asked).value,
        "worst_class": int(np.argmin(shares)),
        "worst": 100 * min(shares),
        "variety": judge.variety(images, asked),
        **{name: watch.scores[name] for name in METRICS},
        "steps": state.clock.step,
        "cpu_seconds": watch.cpu_seconds,
        "by_class": " ".join(f"{100 * share:.1f}" for share in shares),
    }
    return row, np.concatenate([images[asked == label][:SHOWN] for label in range(classes)])


def targets(report: Report, rows: Sequence[Mapping[str, Any]]) -> None:
    """What holds of the recipe as it is, and that no score is worse than it was."""
    before, now = (columns([row for row in rows if row["recipe"] == name]) for name in ("before", "now"))
    if now:
        runs = f"{len(now['agreement'])} run(s)"
        report.at_least(f"asked label is read, mean of {runs}", 97.0, measured=mean(now["agreement"]), unit="%")
        report.at_least(f"asked label is read, least of {runs}", 97.0, measured=min(now["agreement"]), unit="%")
        classes = np.mean([[float(share) for share in row.split()] for row in now["by_class"]], axis=0)
        name = f"asked label is read, worst class ({int(classes.argmin())}), mean of {runs}"
        report.at_least(name, 95.0, measured=float(classes.min()), unit="%")
    if now and before:
        report.at_most("Fréchet distance: before's", mean(before["fid"]), measured=mean(now["fid"]))
        for name in ("precision", "recall"):
            report.at_least(f"{name}: before's", mean(before[name]), measured=mean(now[name]))


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Each column's values; empty without rows."""
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def main() -> int:
    """Train, measure, report; exit status."""
    parser = arguments("demo", "Label agreement and training time of the demo's recipe, before and now.")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(variants()),
        default=list(variants()),
        help="which to train; rows of the other stay in the JSON",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="of the trainings (0 1 2 3 4)")
    parser.add_argument("--pictures", type=Path, default=None, help="folder for a picture of each run (default: none)")
    options = parser.parse_args()
    report = Report("demo", options)
    with tempfile.TemporaryDirectory() as scratch:
        run(report, options, Path(scratch))
    report.note(
        "real: scikit-learn's digits, each read by the one classifier of five that has not seen it; generated ones are read by all five together"
    )
    report.note(f"{SAMPLES} images a run, as many of each class; by_class: % of 0, 1, … 9 read as asked")
    report.note(
        "fid, precision, recall: the platform's own evaluation, of 2000 images; fid compares runs of this table alone"
    )
    report.note("cpu_seconds: of one thread in one process; the demo shares them between two workers")
    return report.finish()


def run(report: Report, options: argparse.Namespace, cache: Path) -> None:
    """Every training's row, and the targets."""
    judges: dict[int, Judge] = {}
    rows = kept(report.out, options.only)
    for row in rows:
        report.row(**row)
    for seed in options.seeds[:1] if options.quick else options.seeds:
        for name in options.only:
            spec = alone(variants()[name], seed, options.quick)
            dataset, side = open_dataset(spec, cache_dir=cache), spec.arch.resolution
            if side not in judges:
                judges[side] = train_judge(*real(dataset), epochs=1 if options.quick else EPOCHS)
                report.row(**real_row(side, judges[side]))
            measured, images = measure(spec, dataset, judges[side], cache)
            rows.append({"recipe": name, "pixels": side, "run": seed, **measured, "commit": commit()[:7]})
            report.row(**rows[-1])
            print(rows[-1], flush=True)
            if options.pictures:
                save_png(options.pictures / f"demo-{name}-{seed}.png", grid(images, SHOWN))
    targets(report, rows)


def kept(out: Path, measured: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of an earlier report about recipes that are not measured now: what was before doesn't change any more."""
    if not out.is_file():
        return []
    return [row for row in json.loads(out.read_text())["rows"] if row["recipe"] not in (*measured, "real")]


def real(dataset: Dataset) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All of its images [N, H, W, C] and their labels [N]."""
    images, labels = dataset.images(np.arange(dataset.manifest.samples))
    return images.permute(0, 2, 3, 1).contiguous().numpy(), labels.numpy()


def real_row(side: int, judge: Judge) -> dict[str, Any]:
    """What generated digits are compared with."""
    return {
        "recipe": "real", "pixels": side, "agreement": 100 * judge.accuracy.value,
        "worst_class": int(np.argmin(judge.by_class)), "worst": 100 * min(judge.by_class), "variety": 1.0,
        "by_class": " ".join(f"{100 * share:.1f}" for share in judge.by_class),
    }  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
