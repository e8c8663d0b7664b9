"""cgan draws the digit that it is asked for, and learns which is which from the real images' labels alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from distances import label_agreement
from learning import learn

from trainer.data.stream import Dataset, RealBatch
from trainer.families.cgan.recipes import cgan_digits
from trainer.spec import JobSpec, with_overrides

STEPS = 2400


def spec() -> JobSpec:
    return with_overrides(cgan_digits(), ["arch.resolution=8", f"train.images={64 * STEPS}", "resources.workers=1"])


def agreement(cache: Path) -> float:
    return label_agreement(learn(spec(), cache).state, cache)


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
