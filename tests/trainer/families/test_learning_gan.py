"""The MLP GAN leaves the mean image that it starts from for the digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from distances import pixel_distance
from learning import learn

from trainer.data.stream import open_dataset
from trainer.families.gan.recipes import gan_digits
from trainer.spec import with_overrides


def test_samples_come_nearer_to_the_digits_than_the_mean_image_that_training_starts_from(tmp_path: Path) -> None:
    changes = ["arch.resolution=8", "arch.g_hidden=128", "arch.d_hidden=64", "train.images=51200"]
    changes += ["optimizers.G.lr=1e-3", "optimizers.D.lr=1e-3"]
    spec = with_overrides(gan_digits(), changes)
    images, _ = open_dataset(spec, cache_dir=tmp_path).images(range(1500))
    start = np.cov(images.flatten(1).numpy() / 255.0, rowvar=False).trace()  # all samples the mean, which is right
    assert pixel_distance(learn(spec, tmp_path).state, tmp_path) < 0.8 * start
