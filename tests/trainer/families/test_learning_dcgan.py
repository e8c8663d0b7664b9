"""The objectives on DCGAN's nets learn, each in the way that its paper is about: short trainings on the digits at 8 px."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import pytest
from distances import label_agreement, pixel_distance, untrained_distance
from learning import learn
from torch.nn import BatchNorm2d

from trainer.families.table import recipes
from trainer.spec import JobSpec, with_overrides

SMALL = (
    "arch.resolution=8", "arch.g_width=16", "arch.d_width=16", "train.batch=16", "train.log_steps=5", "ema.decay=0.95",
    "resources.workers=1",
)  # fmt: skip
FAST = ("optimizers.G.lr=1e-3", "optimizers.D.lr=1e-3")


def short(recipe: str, *changes: str) -> JobSpec:
    return with_overrides(recipes()[recipe](), [*SMALL, *changes])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_dcgan_comes_near_the_datas_pixels_and_draws_the_digit_asked_for(cache: Path) -> None:
    fast = ("optimizers.G.lr=2e-3", "optimizers.D.lr=2e-3")
    spec = short("dcgan-digits", *fast, "train.images=12800", "train.batch=32")
    learned = learn(spec, cache)
    assert pixel_distance(learned.state, cache) < 0.3 * untrained_distance(spec, cache)
    assert label_agreement(learned.state, cache) > 0.6  # by chance 0.1


WGAN = ("train.images=8000", "objective.d_warmup.d_steps=20", "objective.d_warmup.steps=5")
WGAN_G = {
    "conv": (),
    "mlp": ("arch.g_kind=mlp", "arch.g_width=64"),
    "conv-no-norm": (
        "arch.g_kind=conv-no-norm", "arch.g_width=32", "optimizers.G.lr=1e-3", "optimizers.D.lr=2e-3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("g_kind", WGAN_G)
def test_wgan_the_critics_estimate_falls_while_g_learns_and_its_weights_stay_in_the_clip(
    g_kind: str, cache: Path
) -> None:
    """Of the clipped critic: E D(x) − E D(G(z)) is an estimate of W₁ up to its slope (Arjovsky et al. 2017, section 3)."""
    spec = short("wgan-digits", *WGAN, *WGAN_G[g_kind])
    learned = learn(spec, cache)
    weights = [parameter.abs().max().item() for parameter in learned.state.players["D"].net.parameters()]
    assert max(weights) <= 0.01 * (1 + 1e-6)
    assert max(weights) > 0.009  # clipping acts
    estimate = [-value for value in learned.curves["D/loss"]]
    third = len(estimate) // 3
    assert mean(estimate[-third:]) < 0.5 * max(estimate[:third])
    assert pixel_distance(learned.state, cache) < 0.5 * untrained_distance(spec, cache)


def test_wgans_critic_with_batch_norm_trains_g_with_its_gains_clipped(cache: Path) -> None:
    """At 16 px: D has no norm at 8. Samples that were all the mean image would be at 0.36."""
    spec = short("wgan-digits", *WGAN, "arch.resolution=16", "arch.g_width=8", "arch.d_width=8")
    learned = learn(spec, cache)
    norms = [m for m in learned.state.players["D"].net.modules() if isinstance(m, BatchNorm2d)]
    assert norms
    assert all(norm.weight.abs().max() <= 0.01 * (1 + 1e-6) for norm in norms)
    assert pixel_distance(learned.state, cache) < 0.35 * untrained_distance(spec, cache)


def test_wgan_gp_the_critics_gradient_norm_comes_near_1_while_g_learns(cache: Path) -> None:
    """Without the penalty it goes to 6 in the same training."""
    spec = short("wgan-gp-digits", "ema=null", "optimizers.G.lr=5e-4", "optimizers.D.lr=1e-3", "train.images=8000")
    learned = learn(spec, cache)
    norm = learned.curves["D/gradient_norm"]
    assert norm[0] < 0.3
    assert mean(norm[-4:]) == pytest.approx(1.0, abs=0.35)
    assert pixel_distance(learned.state, cache) < 0.75 * untrained_distance(spec, cache)


@pytest.mark.parametrize("recipe", ["lsgan-digits", "hinge-digits"])
def test_lsgan_and_hinge_come_near_the_datas_pixels(recipe: str, cache: Path) -> None:
    spec = short(recipe, *FAST, "train.images=4000")
    assert pixel_distance(learn(spec, cache).state, cache) < 0.5 * untrained_distance(spec, cache)
