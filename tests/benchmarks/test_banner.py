"""The README's picture shows what the reproduction's picture holds."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from benchmarks import banner
from trainer.images import grid


def test_the_committed_banner_is_drawn_from_the_committed_samples() -> None:
    drawn = banner.banner(banner.samples(np.asarray(Image.open(banner.SOURCE))))
    committed = np.asarray(Image.open(banner.TARGET).convert("RGB"))
    assert committed.shape == drawn.shape
    difference = np.abs(committed.astype(int) - drawn).mean()
    assert difference < 3, "run `python -m benchmarks.banner`"  # WebP's loss is about 1 of 255 levels


def test_samples_come_back_out_of_a_grid_as_they_went_in() -> None:
    images = np.random.default_rng(0).integers(0, 256, (100, 28, 28), dtype=np.uint8)
    assert np.array_equal(banner.samples(grid(images[..., None], 10)[..., 0]), images)


def test_another_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="no grid of 10 × 10"):
        banner.samples(grid(np.zeros((20, 28, 28, 1), np.uint8), 10)[..., 0])
