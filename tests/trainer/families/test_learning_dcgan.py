"""The objectives on DCGAN's nets learn, each in the way that its paper is about: short trainings on the digits at 8 px.

Samples have to be nearer to the data than one and the same mean image is: images near it come long before digits do.
"""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import pytest
from distances import label_agreement, mean_image_distance, pixel_distance
from learning import learn
from torch.nn import BatchNorm2d

from trainer.families.table import recipes
from trainer.spec import JobSpec, with_overrides

SMALL = (
    "arch.resolution=8", "arch.g_width=16", "arch.d_width=16", "train.batch=16", "train.log_steps=5",
    "ema={decay: 0.95}", "resources.workers=1", "data.url=builtin:digits",
)  # fmt: skip
FAST = ("optimizers.G.lr=2e-3", "optimizers.D.lr=2e-3")


def short(recipe: str, *changes: str) -> JobSpec:
    return with_overrides(recipes()[recipe](), [*SMALL, *changes])


@pytest.mark.long
def test_dcgan_comes_near_the_datas_pixels_and_draws_the_digit_asked_for(digits_cache: Path) -> None:
    spec = short("dcgan-digits", *FAST, "train.images=12800", "train.batch=32")
    learned = learn(spec, digits_cache)
    assert pixel_distance(learned.state, digits_cache) < 0.7 * mean_image_distance(spec, digits_cache)
    assert label_agreement(learned.state, digits_cache) > 0.6  # by chance 0.1


@pytest.mark.long
def test_the_64_px_nets_learn_too(digits_cache: Path) -> None:
    """`dcgan-64`, narrow: four stages in each net. D's rate is half of G's: with both alike, or a G as narrow as D, it depends
    on the arithmetic whether 200 steps are enough."""
    narrow = ("arch.resolution=64", "arch.channels=1", "arch.g_width=8", "arch.d_width=4", "arch.latent.dim=16")
    spec = short("dcgan-64", "optimizers.G.lr=2e-3", "optimizers.D.lr=1e-3", *narrow, "train.images=3200")
    learned = learn(spec, digits_cache)
    assert pixel_distance(learned.state, digits_cache) < 0.9 * mean_image_distance(spec, digits_cache)


WGAN = ("train.images=8000", "objective.d_warmup.d_steps=20", "objective.d_warmup.steps=5")
WGAN_G = {
    "conv": (),
    "mlp": ("arch.g_kind=mlp", "arch.g_width=64", "optimizers.G.lr=5e-3", "train.images=14400"),
    "conv-no-norm": ("arch.g_kind=conv-no-norm", "arch.g_width=32"),
}


@pytest.mark.long
@pytest.mark.parametrize("g_kind", WGAN_G)
def test_wgan_the_critics_estimate_falls_while_g_learns_and_its_weights_stay_in_the_clip(
    g_kind: str, digits_cache: Path
) -> None:
    """Of the clipped critic: E D(x) − E D(G(z)) is an estimate of W₁ up to its slope (Arjovsky et al. 2017, section 3)."""
    spec = short("wgan-digits", *WGAN, *FAST, *WGAN_G[g_kind])
    learned = learn(spec, digits_cache)
    weights = [parameter.abs().max().item() for parameter in learned.state.players["D"].net.parameters()]
    assert max(weights) <= 0.01 * (1 + 1e-6)
    assert max(weights) > 0.009  # clipping acts
    estimate = [-value for value in learned.curves["D/loss"]]
    third = len(estimate) // 3
    assert mean(estimate[-third:]) < 0.5 * max(estimate[:third])
    assert pixel_distance(learned.state, digits_cache) < 0.8 * mean_image_distance(spec, digits_cache)


@pytest.mark.long
def test_wgans_critic_with_batch_norm_trains_g_with_its_gains_clipped(digits_cache: Path) -> None:
    """At 16 px: D has no norm at 8."""
    spec = short("wgan-digits", *WGAN, "arch.resolution=16", "arch.g_width=8", "arch.d_width=8", "train.images=16000")
    learned = learn(spec, digits_cache)
    norms = [m for m in learned.state.players["D"].net.modules() if isinstance(m, BatchNorm2d)]
    assert norms
    assert all(norm.weight.abs().max() <= 0.01 * (1 + 1e-6) for norm in norms)
    assert pixel_distance(learned.state, digits_cache) < 0.9 * mean_image_distance(spec, digits_cache)


@pytest.mark.long
def test_wgan_gp_the_critics_gradient_norm_comes_near_1_while_g_learns(digits_cache: Path) -> None:
    """Without the penalty it goes to 6 in the same training."""
    spec = short("wgan-gp-digits", "ema=null", *FAST, "train.images=6400")
    learned = learn(spec, digits_cache)
    norm = learned.curves["D/gradient_norm"]
    assert norm[0] < 0.3
    assert mean(norm[-4:]) == pytest.approx(1.0, abs=0.35)
    assert pixel_distance(learned.state, digits_cache) < 0.7 * mean_image_distance(spec, digits_cache)


LOSSES = {
    "lsgan-digits": ("optimizers.G.lr=1e-3", "optimizers.D.lr=1e-3", "train.images=4000"),
    "hinge-digits": ("optimizers.G.lr=1e-3", "optimizers.D.lr=1e-3", "train.images=4000"),
    "dcgan-unconditional": (*FAST, "train.images=3200", "ema=null"),
}


@pytest.mark.long
@pytest.mark.parametrize("recipe", LOSSES)
def test_every_loss_draws_images_that_differ_as_the_datas_do(recipe: str, digits_cache: Path) -> None:
    spec = short(recipe, *LOSSES[recipe])
    learned = learn(spec, digits_cache)
    assert pixel_distance(learned.state, digits_cache) < 0.8 * mean_image_distance(spec, digits_cache)
