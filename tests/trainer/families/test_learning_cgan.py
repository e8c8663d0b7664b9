"""cgan draws the digit that it is asked for, and learns which is which from the real images' labels alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learning import learn
from sklearn.linear_model import LogisticRegression

from trainer.data.stream import Dataset, RealBatch, open_dataset
from trainer.engine.sampling import sample
from trainer.families.cgan.recipes import cgan_digits
from trainer.spec import JobSpec, with_overrides

N, STEPS = 400, 2400


def spec() -> JobSpec:
    return with_overrides(cgan_digits(), ["arch.resolution=8", f"train.images={64 * STEPS}", "resources.workers=1"])


def agreement(cache: Path) -> float:
    """Share of samples in which a linear classifier of the real digits finds the digit asked for."""
    state = learn(spec(), cache).state
    images, labels = open_dataset(spec(), cache_dir=cache).images(range(1797))
    classifier = LogisticRegression(max_iter=100).fit(images.flatten(1).numpy() / 255.0, labels.numpy())
    asked = np.arange(N) % 10
    made = sample(state.family, state.spec.arch, state.generator, n=N, seed=1, labels=asked)
    return float(np.mean(classifier.predict(made.reshape(N, -1) / 255.0) == asked))


def test_samples_show_the_digit_asked_for(tmp_path: Path) -> None:
    assert agreement(tmp_path) > 0.6


@pytest.mark.slow
def test_labels_that_mean_nothing_are_not_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ordered = Dataset.stream

    def shuffled(self: Dataset, *args: Any) -> Iterator[RealBatch]:
        for batch in ordered(self, *args):
            order = torch.randperm(len(batch.labels), generator=torch.Generator().manual_seed(batch.index))
            yield replace(batch, labels=batch.labels[order])

    monkeypatch.setattr(Dataset, "stream", shuffled)
    assert agreement(tmp_path) < 0.3
