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


def spec(steps: int) -> JobSpec:
    return with_overrides(cgan_digits(), ["arch.resolution=8", f"train.images={64 * steps}", "resources.workers=1"])


def agreement(steps: int, cache: Path) -> float:
    return label_agreement(learn(spec(steps), cache).state, cache)


@pytest.mark.long
def test_samples_show_the_digit_asked_for(digits_cache: Path) -> None:
    assert agreement(2400, digits_cache) > 0.6


@pytest.mark.long
def test_labels_that_mean_nothing_are_not_obeyed(digits_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ordered = Dataset.stream

    def shuffled(self: Dataset, *args: Any) -> Iterator[RealBatch]:
        for batch in ordered(self, *args):
            order = torch.randperm(len(batch.labels), generator=torch.Generator().manual_seed(batch.index))
            yield replace(batch, labels=batch.labels[order])

    monkeypatch.setattr(Dataset, "stream", shuffled)
    assert agreement(1500, digits_cache) < 0.3
