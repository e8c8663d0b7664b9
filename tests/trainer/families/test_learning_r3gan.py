"""R3GAN learns within seconds on the digits at 8 px, and its penalties hold D's slopes on both sides."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import pytest
from distances import pixel_distance, untrained_distance
from learning import learn

from trainer.families.table import recipes
from trainer.spec import with_overrides

SMALL = (
    "arch.resolution=8", "arch.g_width=8", "arch.d_width=8", "train.batch=16", "train.log_steps=5", "ema.decay=0.95",
    "resources.workers=1", "optimizers.G.lr=2e-3", "optimizers.D.lr=2e-3", "train.images=1920",
)  # fmt: skip


@pytest.mark.long
def test_r3gan_comes_near_the_datas_pixels_with_slopes_that_r1_and_r2_hold_down(digits_cache: Path) -> None:
    spec = with_overrides(recipes()["r3gan-digits"](), SMALL)
    learned = learn(spec, digits_cache)
    assert pixel_distance(learned.state, digits_cache) < 0.5 * untrained_distance(spec, digits_cache)
    for name in ("D/r1", "D/r2"):  # half the squared slope
        assert 0.0 < mean(learned.curves[name][-4:]) < 0.3
