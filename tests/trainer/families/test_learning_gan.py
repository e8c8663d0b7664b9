"""The MLP GAN leaves the mean image that it starts from for the digits."""

from __future__ import annotations

from pathlib import Path

import pytest
from distances import mean_image_distance, pixel_distance
from learning import learn

from trainer.families.gan.recipes import gan_digits, gan_minimax
from trainer.spec import with_overrides

SMALL = ("arch.resolution=8", "arch.g_hidden=128", "arch.d_hidden=64", "train.images=51200")


@pytest.mark.long
def test_samples_come_nearer_to_the_digits_than_the_mean_image_that_training_starts_from(digits_cache: Path) -> None:
    spec = with_overrides(gan_digits(), [*SMALL, "optimizers.G.lr=1e-3", "optimizers.D.lr=1e-3"])
    learned = learn(spec, digits_cache)
    assert pixel_distance(learned.state, digits_cache) < 0.8 * mean_image_distance(spec, digits_cache)


@pytest.mark.long
def test_so_they_do_in_the_minimax_game_itself_if_d_is_not_too_sure(digits_cache: Path) -> None:
    """G's loss saturates where D is sure, so D learns at a third of G's rate here; unconditional, with Adam for haste."""
    changes = [
        *SMALL,
        "arch.mean_start=true",
        "data.url=builtin:digits",
        "data.lanes=8",
        "train.batch=64",
        "ema={decay: 0.99}",
    ]
    changes += [f"optimizers.{name}={{kind: adam, beta1: 0.5, lr: {lr}}}" for name, lr in (("G", 0.001), ("D", 0.0003))]
    spec = with_overrides(gan_minimax(), changes)
    learned = learn(spec, digits_cache)
    assert pixel_distance(learned.state, digits_cache) < 0.95 * mean_image_distance(spec, digits_cache)
