"""What the evaluation's tests share: a small spec on real digits, a run without a loop, a dataset without classes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from forked import join_group

from trainer.data.stream import Dataset, open_dataset
from trainer.engine.distributed import Distributed
from trainer.engine.events import Event
from trainer.engine.state import TrainState
from trainer.families.table import recipes
from trainer.spec import Evaluation, JobSpec

SAMPLES = 600  # three chunks, the last one short


def small_spec(**evaluation: Any) -> JobSpec:
    """A tiny DCGAN on 8 px digits."""
    spec = recipes()["dcgan-digits"]()
    settings = {"samples": SAMPLES, "metrics": ("fid", "kid", "precision", "recall"), **evaluation}
    return spec.replace(
        arch=spec.arch.replace(g_width=4, d_width=4, resolution=8),
        resources=spec.resources.replace(workers=1),
        evaluation=Evaluation(**settings),
    )


class FakeRun:
    """A Run without a loop: real state, dataset and ranks; keeps what is emitted."""

    def __init__(self, spec: JobSpec, cache_dir: Path, distributed: Distributed | None = None) -> None:
        self.spec = spec
        self.distributed = distributed or Distributed.create(spec, world=1)
        self.dataset: Dataset = open_dataset(spec, cache_dir=cache_dir)
        self.state = TrainState.create(spec, self.distributed)
        self.emitted: list[Event] = []

    def emit(self, event: Event) -> None:
        self.emitted.append(event)

    def request_stop(self, reason: str) -> None:
        raise AssertionError(reason)


class Unlabelled:
    """The digits without their classes, as a flat folder gives them."""

    def __init__(self, dataset: Dataset) -> None:
        known = dataset.manifest
        self.manifest = SimpleNamespace(
            digest="0" * 64, classes=(), samples=known.samples, resolution=known.resolution, channels=known.channels
        )
        self._dataset = dataset

    def images(self, indices: Any) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = self._dataset.images(indices)
        return images, torch.zeros_like(labels)


def score_as_rank(rank: int, world: int, port: int, cache: str, out: str) -> None:
    """Child process: evaluate with buffers that differ by rank, and save what this rank says."""
    import json

    from trainer.evaluate import Evaluator
    from trainer.evaluate.accumulate import gather_features

    join_group(rank, world, port)
    spec = small_spec()
    run = FakeRun(spec, Path(cache), Distributed.create(spec, world=world))
    with torch.no_grad():
        for buffer in run.state.generator.buffers():
            if buffer.is_floating_point():
                buffer.add_(float(rank))
    before = {key: value.clone() for key, value in run.state.tensors().items()}
    scores, _ = Evaluator(spec, run.dataset, Path(out) / "cache").evaluate(run)
    unchanged = all(torch.equal(before[key], value) for key, value in run.state.tensors().items())
    table = torch.arange(100.0)[:, None]  # fewer rows than a chunk: rank 1 has none
    few = gather_features(100, lambda start, n: table[start : start + n], run.distributed, keep=True)
    report = {"scores": scores, "unchanged": unchanged, "rows": few.kept[:, 0].tolist()}
    Path(out, f"{rank}.json").write_text(json.dumps(report))


def train_extractor(cache: str, dataset_cache: str, out: str, name: str) -> None:
    """Child process: ask for the extractor, noting whether this process trained it."""
    from trainer.evaluate import classifier

    torch.set_num_threads(1)
    original = classifier.train

    def noted(*arguments: Any, **options: Any) -> None:
        Path(out, f"{name}.trained").touch()
        original(*arguments, **options)

    classifier.train = noted
    dataset = open_dataset(small_spec(), cache_dir=Path(dataset_cache))
    found = classifier.classifier_extractor(dataset, Path(cache), torch.device("cpu"))
    Path(out, f"{name}.digest").write_text(found.digest)
